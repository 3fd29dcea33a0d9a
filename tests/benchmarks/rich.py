"""Results with everything in them: sizes, precisions, runtimes, devices, energies, roofs, and runs that went wrong."""

from datetime import datetime

from msgspec.structs import replace

from tests.benchmarks.machine import HOST, SETTINGS, Machine
from yolo_edge.benchmarks.accuracy import Accuracy, Measured
from yolo_edge.benchmarks.benchmark import Benchmark
from yolo_edge.benchmarks.results import BenchmarkResult, Cell, Energy
from yolo_edge.benchmarks.rounds import Subject

SIZES = (224, 256, 320, 416, 512, 608)
PRECISIONS = ("fp32", "int8")
SPEED = {"onnx": {"fp32": 1.0, "int8": 0.62}, "tflite": {"fp32": 0.81, "int8": 0.48}}
SCOPES = {"pi5": "soc_rails", "jetson": "module_input", "local": None}


def name(size: int, precision: str, form: str) -> str:
    return f"out/yolo-fastest-1.1-{size}-{precision}.{form}"


def sha256(size: int, precision: str) -> str:
    return f"sha of {size} {precision}"


def accuracy(size: int, precision: str) -> float:
    return round(0.262 * (1 - 2.1 ** (-(size - 96) / 110)) - (0.006 if precision == "int8" else 0), 4)


def accuracies() -> list[Accuracy]:
    found = []
    for size in SIZES:
        for precision in PRECISIONS:
            value = accuracy(size, precision)
            found.append(
                Accuracy(
                    model=f"{size} {precision}",
                    images=182,
                    mAP50=1.8 * value,
                    mAP50_95=value,
                    intervals={
                        "mAP50_95": (value - 0.02, value + 0.02),
                        "mAP50": (1.8 * value - 0.03, 1.8 * value + 0.03),
                    },
                    sha256=sha256(size, precision),
                    settings=Measured(data="coco128.yaml", split=None),
                )
            )
    return found


def run(
    device: str = "pi5",
    form: str = "onnx",
    *,
    factor: float = 1.0,
    sizes: tuple[int, ...] = SIZES,
    quick: bool = False,
    day: int = 1,
    seed: int = 0,
    busy: bool = False,
    emulated: bool = False,
    profile: bool = False,
) -> BenchmarkResult:
    """One run on a machine of the tests' own, whose times are known."""
    models = {(size, precision): name(size, precision, form) for size in sizes for precision in PRECISIONS}
    base = {
        model: factor * 9.0 * (size / 320) ** 2 * SPEED[form][precision] for (size, precision), model in models.items()
    }

    def conditions(seconds: float) -> dict[str, object]:
        others = 0.5 if busy else 0.02
        return {
            "busy_s": 4 * others * seconds + seconds,
            "temperatures_c": {"cpu-thermal": 48 + 14 * (1 - 2 ** (-seconds / 4))},
            "clock_mhz": [2400.0, 2400.0, 2400.0, 2380.0 if seconds > 4 else 2400.0],
        }

    host = {**HOST, "name": device, "model": {"jetson": "Jetson Orin Nano", "pi5": "Raspberry Pi 5"}.get(device, "PC")}
    machine = Machine(base, conditions=conditions, host=host, seed=seed)
    settings = replace(SETTINGS, threads=(1, 2), quick=quick, roof_s=1.0, profile=3 if profile else 0, seconds=1.5)
    subjects = [
        Subject(
            model,
            model,
            sha256(size, precision),
            350_000 if precision == "int8" else 1_330_000,
            "{}",
            precision,
            (size, size),
            int(252e6 * (size / 320) ** 2),
            int(
                (350_000 if precision == "int8" else 1_330_000)
                + 9e6 * (size / 320) ** 2 * (0.25 if precision == "int8" else 1)
            ),
            "yolo-fastest-1.1.cfg 0123456789ab",
        )
        for (size, precision), model in models.items()
    ]
    result = Benchmark(subjects, settings, machine.connect, device=device).run()
    created = f"2026-11-{day:02}T10:00:00+00:00"
    origin = datetime.fromisoformat(created).timestamp()
    moments = tuple(replace(moment, time=moment.time - 1000 + origin) for moment in result.conditions)
    ends = [moment.time - origin for moment in moments]
    cells = tuple(_dressed(cell, device, form, emulated, (min(ends), max(ends))) for cell in result.cells)
    return replace(result, cells=cells, created=created, conditions=moments)


def _dressed(cell: Cell, device: str, form: str, emulated: bool, span: tuple[float, float]) -> Cell:
    assert cell.samples is not None
    turns = len(cell.samples.at_s)
    at_s = tuple(round(span[0] + (span[1] - span[0]) * i / turns, 2) for i in range(turns))
    scope = SCOPES.get(device)
    watts = {"soc_rails": 3.1, "module_input": 6.2}.get(scope or "", 0.0) + 1.3 * cell.threads
    idle = {"soc_rails": 1.6, "module_input": 3.9}.get(scope or "", 0.0)
    ms = cell.latency_ms.p50 / (1.7 if cell.threads == 2 else 1)
    return replace(
        cell,
        latency_ms=replace(
            cell.latency_ms,
            **{
                key: round(getattr(cell.latency_ms, key) / (1.7 if cell.threads == 2 else 1), 4)
                for key in ("p50", "p90", "p99", "mean")
            },
        ),
        samples=replace(cell.samples, at_s=at_s) if cell.threads == 1 else None,
        runtime="onnxruntime" if form == "onnx" else "tflite",
        emulated=emulated,
        energy_mj=Energy(gross=watts * ms, net=(watts - idle) * ms, scope=scope) if scope and not emulated else None,
        energy_reason=None if scope else "not measured: no power meter on this device",
    )


def slowed(result: BenchmarkResult) -> BenchmarkResult:
    """Throttled in the cells with two threads."""
    reason = "the CPU clock fell from 2400 to 1500 MHz"
    cells = (replace(cell, valid=False, invalid_reason=reason) if cell.threads == 2 else cell for cell in result.cells)
    return replace(result, cells=tuple(cells))


def many(count: int) -> list[BenchmarkResult]:
    """As many results as are asked for, of a few machines, each a little different, without samples."""
    found = []
    templates = [
        run("pi5", "onnx", sizes=(224,)),
        run("jetson", "tflite", factor=0.6, sizes=(256,), quick=True),
        run("pi5", "tflite", factor=0.6, sizes=(416,), busy=True),
    ]
    for i in range(count):
        template = templates[i % len(templates)]
        factor = 1 + (i % 37) / 200
        cells = tuple(
            replace(cell, samples=None, latency_ms=replace(cell.latency_ms, p50=round(cell.latency_ms.p50 * factor, 4)))
            for cell in template.cells
        )
        found.append(
            replace(
                template, cells=cells, created=f"2026-{1 + i // 28 % 12:02}-{1 + i % 28:02}T{i % 24:02}:00:00+00:00"
            )
        )
    return found
