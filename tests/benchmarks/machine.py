"""A machine whose speed, drift and company are known: what measures it can be held to that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from msgspec.structs import replace

from yolo_edge.benchmarks.benchmark import Benchmark
from yolo_edge.benchmarks.results import BenchmarkResult
from yolo_edge.benchmarks.rounds import Subject
from yolo_edge.benchmarks.settings import Settings, quick_settings
from yolo_edge.ondevice.errors import YoloEdgeError

HOST = {
    "name": "fake",
    "model": "Raspberry Pi 5",
    "machine": "aarch64",
    "cpu": {
        "name": "Cortex-A76",
        "cpus": 4,
        "cpus_in_all": 4,
        "features": ["asimd"],
        "max_mhz": 2400,
        "virtual": False,
    },
    "memory_mb": 8000.0,
    "os": "Debian",
    "kernel": "6.6",
    "python": "3.11.2",
    "versions": {"numpy": "2.0"},
}
SETTINGS = replace(quick_settings(), repeats=4, cooldown_s=0.0)


@dataclass
class Machine:
    """Gives agents; its clock runs while they compute.

    `base_ms` is by the name of the model; `slowdown` is a factor by seconds since the start; `meter` reads its power.
    """

    base_ms: dict[str, float]
    meter: "FakeMeter | None" = None
    slowdown: Callable[[float], float] = lambda seconds: 1.0
    noise: float = 0.02
    conditions: Callable[[float], dict[str, Any]] = lambda seconds: {}
    fail: Callable[[str, str], None] = lambda label, do: None
    host: dict[str, Any] = field(default_factory=lambda: HOST)
    now: float = 1000.0
    log: list[tuple[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def connect(self, label: str) -> "Agent":
        return Agent(self, label)


@dataclass
class FakeMeter:
    """What a machine takes: some watts at rest, and more, by the model, while it computes; read at a steady pace.

    `drift` is added by seconds since the start; `lost` says whether a reading at a time was missed.
    """

    idle_w: float = 2.0
    load_w: dict[str, float] = field(default_factory=dict)
    interval_s: float = 0.01
    unit: str = "W"
    wrap: float | None = None
    drift: Callable[[float], float] = lambda seconds: 0.0
    lost: Callable[[float], bool] = lambda seconds: False
    available: bool = True
    busy: list[tuple[float, float, float]] = field(default_factory=list)
    taken: float = 0.0

    def describe(self) -> dict[str, Any]:
        column = {"rail": "VDD_IN", "unit": self.unit, "wrap": self.wrap}
        return {
            "kind": "ina3221-hwmon",
            "scope": "module_input",
            "estimated": False,
            "what": "VDD_IN",
            "total": ["VDD_IN"],
            "columns": [column],
            "interval_s": self.interval_s,
        }

    def read(self, until: float) -> tuple[list[float], list[list[float]]]:
        """The readings since the last time."""
        times = [
            time
            for time in np.arange(self.taken, until, self.interval_s).tolist()
            if time > self.taken and not self.lost(time - 1000)
        ]
        self.taken = until
        return times, [[self._value(time)] for time in times]

    def _value(self, now: float) -> float:
        if self.unit == "W":
            above = sum(watts for begin, end, watts in self.busy if begin <= now < end)
            return self.idle_w + self.drift(now - 1000) + above
        count = self.idle_w * now + sum((min(now, end) - begin) * w for begin, end, w in self.busy if begin < now)
        return float(np.floor(count * 1e6) % (self.wrap or 1e18))


class Agent:
    def __init__(self, machine: Machine, label: str):
        self.machine, self.label, self.host = machine, label, machine.host
        self.luck = float(machine.rng.normal(1, machine.noise / 10))  # of this process
        self.cpu_s = 0.0

    def __enter__(self) -> "Agent":
        self.machine.open.append(self.label)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.open.remove(self.label)

    def ask(self, do: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        self.machine.log.append((self.label, do))
        self.machine.fail(self.label, do)
        answer: dict[str, Any] = getattr(self, f"_{do}")(arguments)
        return answer

    def _ms(self) -> float:
        machine = self.machine
        seconds = machine.now - 1000
        base = machine.base_ms[self.label.split(", ", maxsplit=1)[0]]
        return base * self.luck * machine.slowdown(seconds) * float(machine.rng.lognormal(0, machine.noise))

    def _conditions(self, arguments: dict[str, Any]) -> dict[str, Any]:
        plain = {"time": self.machine.now, "busy_s": self.machine.now, "stolen_s": 0.0, "available_mb": 4000.0}
        return {**plain, **self.machine.conditions(self.machine.now - 1000)}

    def _peak(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"gflops": 100.0 * arguments["threads"], "by": "numpy"}

    def _roof(self, arguments: dict[str, Any]) -> dict[str, Any]:
        rising = {"int8_gops": 300.0 * arguments["threads"], "int8_by": "onnxruntime"}
        return {"copy_gb_s": 10.0, "copied_mb": 67.1, **rising}

    def _load(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.whole = arguments["spec"] is not None
        self.machine.now += 0.5
        return {
            "runtime": arguments["runtime"].replace("auto", "onnxruntime"),
            "runtime_version": "1.2.3",
            "precise": not arguments["fast"],  # as on x86 without VNNI
            "start_ms": 50.0,
            "load_ms": 10.0,
            "first_ms": 9.0,
            "base_mb": 60.0,
            "cpus": None,
            "detections": 3 if self.whole else None,
            "picture": None,
        }

    def _warm_up(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"seconds": 0.3, "settled": True, "median_ms": self._ms()}

    def _turn(self, arguments: dict[str, Any]) -> dict[str, Any]:
        stages, elapsed, begins = [], 0.0, self.machine.now
        while elapsed < arguments["seconds"] or len(stages) < arguments["count"]:
            inference = self._ms()
            stages.append([200_000, round(inference * 1e6), 100_000] if self.whole else [round(inference * 1e6)])
            elapsed += inference / 1e3
            self.machine.now += inference / 1e3
        cpu = [stage[len(stage) // 2] for stage in stages]
        if self.machine.meter:
            watts = self.machine.meter.load_w[self.label.split(", ", maxsplit=1)[0]]
            self.machine.meter.busy.append((begins, self.machine.now, watts))
        return {
            "stages_ns": stages,
            "cpu_ns": cpu,
            "window_ns": [round(begins * 1e9), round(self.machine.now * 1e9)],
            "wall_s": elapsed,
            "cpu_s": elapsed,
            "clock_mhz": [],
        }

    def _clock(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"monotonic_ns": round(self.machine.now * 1e9)}

    def _idle(self, arguments: dict[str, Any]) -> dict[str, Any]:
        begins = self.machine.now = self.machine.now + arguments["settle_s"]
        ends = self.machine.now = self.machine.now + arguments["seconds"]
        self.machine.now += 0.1
        return {"window_ns": [round(begins * 1e9), round(ends * 1e9)]}

    def _meters(self, arguments: dict[str, Any]) -> dict[str, Any]:
        row = {"kind": "pmic", "available": False, "scope": None, "reason": "there is no vcgencmd", "remedy": "buy one"}
        there = {"kind": "ina3221-hwmon", "available": True, "scope": "module_input", "reason": "", "remedy": None}
        meter = self.machine.meter
        return {"meters": [row, there] if meter and meter.available else [row]}

    def _sample(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self.machine.meter
        self.machine.meter.taken = self.machine.now
        return self.machine.meter.describe()

    def _samples(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self.machine.meter
        times, values = self.machine.meter.read(self.machine.now)
        return {
            "times_ns": [round(time * 1e9) for time in times],
            "values": values,
            "failures": 0,
            "problem": "",
            "wall_s": 10.0,
            "cpu_s": 0.1,
        }

    def _memory(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"peak_mb": 100.0, "now_mb": 90.0}

    def _profile(self, arguments: dict[str, Any]) -> dict[str, Any]:
        nodes = [{"name": "conv", "operator": "Conv", "ms": 3.0}, {"name": "pool", "operator": "MaxPool", "ms": 1.0}]
        return {"run_ms": [4.0, 4.2, 4.1], "outside_ms": [4.1, 4.3, 4.2], "nodes": nodes}


def subjects(names: list[str], spec: str | None = "{}") -> list[Subject]:
    return [
        Subject(name, f"/models/{name}", f"sha of {name}", 1_000_000, spec, "fp32", (320, 320), 10**8) for name in names
    ]


def measure(machine: Machine, settings: Settings = SETTINGS, names: list[str] | None = None) -> BenchmarkResult:
    """A whole run on that machine, of all its models or of `names`."""
    return Benchmark(subjects(names or list(machine.base_ms)), settings, machine.connect).run()


def out_of_memory(label: str, do: str) -> None:
    if do == "turn" and label.startswith("b.onnx"):
        raise YoloEdgeError("ended by signal 9 during 'turn'")
