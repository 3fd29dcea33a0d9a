"""What native benchmark programs print, as milliseconds and megabytes: where no Python runs, they measure.

TFLite's `benchmark_model`, onnxruntime's `onnxruntime_perf_test`, ncnn's `benchncnn`, and `hyperfine`.
"""

import re

import msgspec

from yolo_edge.ondevice.errors import InputError

_NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long one thing took; times in milliseconds, None where the program does not print them.

    Attributes:
        name: Of the model or the command; None where the program does not say.
        n: Measured runs; None where the program does not say.
        threads: Of the runtime.
        gpu: Whether a GPU computed.
        mean: Of the runs.
        min: The shortest.
        max: The longest.
        std: Standard deviation.
        p50: The median.
        p90: The 90th percentile.
        p95: The 95th percentile.
        p99: The 99th percentile.
        first: The first run.
        warm_up: Mean of the runs before the measured ones.
        load: To load the model.
        memory_mb: Peak memory as the program counts it: of the process, or what the model added.
    """

    name: str | None = None
    n: int | None = None
    threads: int | None = None
    gpu: bool = False
    mean: float
    min: float | None = None
    max: float | None = None
    std: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    first: float | None = None
    warm_up: float | None = None
    load: float | None = None
    memory_mb: float | None = None


def parse_benchmark_model(text: str) -> Timing:
    """The output of TFLite's `benchmark_model`, on a terminal or in Android's log.

    Of its lines that begin with `count=` the last is the measured one; older versions print no percentiles.

    Raises:
        InputError: It printed no result.
    """
    counts = re.findall(r"(?m)\bcount=\d+ (?:first|curr)=.*$", text)
    if not counts or "avg=" not in counts[-1]:
        raise InputError("benchmark_model printed no line that begins with count= and has an average")
    fields = {key: float(value) for key, value in re.findall(rf"(\w+)={_NUMBER}", counts[-1])}
    summary = re.search(
        rf"Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}", text
    )
    init, first, warm_up, _ = (float(value) / 1e3 for value in summary.groups()) if summary else [None] * 4

    def milliseconds(key: str) -> float | None:
        return fields[key] / 1e3 if key in fields else None

    return Timing(
        name=_text(r"Graph: \[(.*?)\]", text),
        n=int(fields["count"]),
        threads=_whole(r"#threads used for CPU inference: \[(\d+)\]|Num threads: \[(\d+)\]", text),
        gpu="Use gpu: [1]" in text,
        mean=fields["avg"] / 1e3,
        min=milliseconds("min"),
        max=milliseconds("max"),
        std=milliseconds("std"),
        p50=milliseconds("median"),
        p95=milliseconds("p95"),
        first=first,
        warm_up=warm_up,
        load=init,
        memory_mb=_decimal(rf"emory footprint .*?overall={_NUMBER}", text),
    )


def parse_perf_test(text: str) -> Timing:
    """The output of onnxruntime's `onnxruntime_perf_test`: averages in milliseconds, percentiles in seconds.

    Raises:
        InputError: It printed no result.
    """
    mean = _decimal(rf"Average inference time cost: {_NUMBER} ms", text)
    if mean is None:
        raise InputError("onnxruntime_perf_test printed no average")

    def latency(name: str) -> float | None:
        seconds = _decimal(rf"(?m)^{name} Latency: {_NUMBER} s", text)
        return None if seconds is None else 1e3 * seconds

    load = _decimal(rf"Session creation time cost: {_NUMBER} s", text)
    memory = _decimal(rf"Peak working set size: {_NUMBER} bytes", text)
    return Timing(
        n=_whole(r"Total inference requests: (\d+)", text),
        threads=_whole(r"Setting intra_op_num_threads to (\d+)", text),
        mean=mean,
        min=latency("Min"),
        max=latency("Max"),
        p50=latency("P50"),
        p90=latency("P90"),
        p95=latency("P95"),
        p99=latency("P99"),
        first=_decimal(rf"First inference time cost: {_NUMBER} ms", text),
        load=None if load is None else 1e3 * load,
        memory_mb=None if memory is None else memory / 1e6,
    )


def parse_benchncnn(text: str) -> list[Timing]:
    """The output of ncnn's `benchncnn`, of one run or several after each other.

    Raises:
        InputError: It printed no result.
    """
    settings: dict[str, int] = {}
    found = []
    for line in text.splitlines():
        setting = re.fullmatch(r"(loop_count|num_threads|gpu_device) = (-?\d+)", line.strip())
        if setting is not None:
            settings[setting[1]] = int(setting[2])
            continue
        row = re.fullmatch(rf"\s*(\S+)\s+min =\s*{_NUMBER}\s+max =\s*{_NUMBER}\s+avg =\s*{_NUMBER}\s*", line)
        if row is not None:
            found.append(
                Timing(
                    name=row[1],
                    n=settings.get("loop_count"),
                    threads=settings.get("num_threads"),
                    gpu=settings.get("gpu_device", -1) >= 0,
                    min=float(row[2]),
                    max=float(row[3]),
                    mean=float(row[4]),
                )
            )
    if not found:
        raise InputError("benchncnn printed no line with min, max and avg")
    return found


class _Run(msgspec.Struct):
    command: str
    mean: float
    median: float
    min: float
    max: float
    times: list[float]
    stddev: float | None = None


class _Runs(msgspec.Struct):
    results: list[_Run]


def parse_hyperfine(data: bytes) -> list[Timing]:
    """The document of `hyperfine --export-json`, in seconds: each run is a whole process.

    Raises:
        InputError: It is none.
    """
    try:
        runs = msgspec.json.decode(data, type=_Runs).results
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"not a document of hyperfine --export-json ({error})") from error
    return [
        Timing(
            name=run.command,
            n=len(run.times),
            mean=1e3 * run.mean,
            min=1e3 * run.min,
            max=1e3 * run.max,
            std=None if run.stddev is None else 1e3 * run.stddev,
            p50=1e3 * run.median,
        )
        for run in runs
    ]


def parse_output(data: bytes) -> list[Timing]:
    """The output of any of these programs, which is known by its own words.

    Raises:
        InputError: None of them printed it, or it has no result.
    """
    if data.lstrip().startswith(b"{"):
        return parse_hyperfine(data)
    text = data.decode("utf-8", "replace")
    if "Average inference time cost" in text:
        return [parse_perf_test(text)]
    if re.search(r"(?m)^loop_count = \d+|\bmin =.*\bmax =.*\bavg =", text):
        return parse_benchncnn(text)
    if "count=" not in text:
        raise InputError(
            "not an output of benchmark_model, onnxruntime_perf_test, benchncnn or hyperfine --export-json"
        )
    return [parse_benchmark_model(text)]


def _text(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return None if found is None else next(group for group in found.groups() if group is not None)


def _whole(pattern: str, text: str) -> int | None:
    found = _text(pattern, text)
    return None if found is None else int(found)


def _decimal(pattern: str, text: str) -> float | None:
    found = _text(pattern, text)
    return None if found is None else float(found)
