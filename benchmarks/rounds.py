"""The measuring itself: cells take turns in rounds, so that whatever slows the machine slows all of them alike.

Only one worker is active at any moment; the others wait for their turn. Each repeat has workers of its own. Where they
run is not known here: an agent is something that can be asked.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from yolo_edge.benchmarks.agents import QUICK_SECONDS, Agent, Connect
from yolo_edge.benchmarks.host import Conditions, Host, Peak, Roof
from yolo_edge.benchmarks.journal import CellRepeat, Repeat
from yolo_edge.benchmarks.metering import Choice, Recorder
from yolo_edge.benchmarks.power import Window
from yolo_edge.benchmarks.results import STAGES, Profile
from yolo_edge.benchmarks.samples import encode, encode_bytes
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.ondevice.errors import YoloEdgeError

LOAD_SECONDS = 900.0
_MIN_FREE = 0.05  # of the memory, with all workers loaded: below, the machine would swap


@dataclass(frozen=True)
class Subject:
    """A model to measure.

    Attributes:
        name: As the user named it.
        path: Of the file on the machine that is measured.
        sha256: Of the file.
        bytes: Its size.
        spec: The JSON of its spec; None: the inference alone is measured.
        precision: Of the spec.
        input: Width and height, of the spec.
        macs: Multiply-accumulates, where known.
        traffic_bytes: See `Cell`.
        source: See `Cell`.
        notes: What else to know of it.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    spec: str | None
    precision: str | None = None
    input: tuple[int, int] | None = None
    macs: int | None = None
    traffic_bytes: int | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """A model with a number of threads and a runtime, "auto" or the name of one: what becomes a cell."""

    subject: Subject
    threads: int
    runtime: str = "auto"

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.what}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def what(self) -> str:
        """The model, and the runtime where one was named."""
        return self.subject.name if self.runtime == "auto" else f"{self.subject.name}, {self.runtime}"


Progress = Callable[[str], None]


def steps_of(slots: Sequence[Slot], repeats: int, *, energy: bool) -> int:
    """How often `measure_repeat` reports progress in so many repeats."""
    return repeats * (len(slots) + _ROUND_STEPS + (2 if energy else 0))


_ROUND_STEPS = 10
_COMPARED = ("agreement", "snr_db")  # where the network alone runs there
_LOADED = ("runtime", "runtime_version", "precise", "start_ms", "load_ms", "first_ms", "base_mb", "cpus", "detections")


def find_host(connect: Connect) -> Host:
    """What the machine is.

    Raises:
        YoloEdgeError: It does not answer.
    """
    with connect("looking at the machine") as agent:
        return msgspec.convert(agent.host, Host)


def ask_conditions(connect: Connect, when: str) -> Conditions:
    """How the machine fares now."""
    with connect("looking at the machine") as agent:
        return _conditions_of(agent, when)


def find_peaks(connect: Connect, threads: Sequence[int], settings: Settings) -> dict[str, Peak]:
    """The machine's fp32 peak for each number of threads; empty where the settings leave it out.

    Args:
        connect: Starts an agent; its argument says what for.
        threads: To find the peak for.
        settings: `peak_s` and `pin` count.

    Raises:
        YoloEdgeError: The machine does not answer.
    """
    answers = _ask_bounds(connect, "peak", "finding the fp32 peak", threads, settings.peak_s, settings.pin)
    return msgspec.convert(answers, dict[str, Peak])


def find_roofs(connect: Connect, threads: Sequence[int], settings: Settings) -> dict[str, Roof]:
    """What else bounds the machine, for each number of threads; empty where the settings leave it out.

    Args:
        connect: Starts an agent; its argument says what for.
        threads: To find it for.
        settings: `roof_s` and `pin` count.

    Raises:
        YoloEdgeError: The machine does not answer.
    """
    answers = _ask_bounds(connect, "roof", "finding the roof", threads, settings.roof_s, settings.pin)
    return msgspec.convert(answers, dict[str, Roof])


def _ask_bounds(
    connect: Connect, do: str, what: str, threads: Sequence[int], seconds: float, pin: bool
) -> dict[str, Any]:
    """An agent's answer for each number of threads; none where no time is given to it."""
    found = {}
    for number in dict.fromkeys(threads) if seconds else ():
        with connect(what) as agent:
            found[str(number)] = agent.ask(do, QUICK_SECONDS, threads=number, seconds=seconds, pin=pin)
    return found


@dataclass
class _Running:
    """A slot whose worker is loaded."""

    slot: Slot
    agent: Agent
    loaded: dict[str, Any]
    warm: dict[str, Any]
    turns: list[dict[str, Any]] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    @property
    def cpu_s(self) -> float:
        return float(sum(turn["cpu_s"] for turn in self.turns))


def measure_repeat(
    connect: Connect,
    slots: Sequence[Slot],
    settings: Settings,
    number: int,
    *,
    rounds: int | None = None,
    origin: float = 0.0,
    before: Conditions | None = None,
    meter: Choice | None = None,
    progress: Progress = lambda _: None,
) -> Repeat:
    """One repeat: new workers, warm-up, then rounds in which each has its turn, in an order drawn anew.

    Args:
        connect: Starts an agent; its argument says what for.
        slots: What to measure.
        settings: How.
        number: Of the repeat, from 1.
        rounds: As many as other repeats had; None: as the settings and the slowest model want.
        origin: `time.time()` when the run began.
        before: Conditions before the run, to be kept with its first repeat.
        meter: The power meter to read meanwhile.
        progress: Called before each step with what it does; `steps_of` times.

    Raises:
        YoloEdgeError: A worker failed; the message says which.
    """
    began = time.monotonic()
    # whom one follows, and who was there first, leaves traces in caches and memory: every order gets its chance
    rng = np.random.default_rng(number)
    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(connect, meter)) if meter else None
        if recorder:
            progress(f"idle ({number} of {settings.repeats})")
            recorder.idle(settings)
        started: dict[int, _Running] = {}
        for i in map(int, rng.permutation(len(slots))):
            progress(f"{_stem(slots[i])}: warming up ({number} of {settings.repeats})")
            started[i] = _start(stack, connect, slots[i], settings)
            _check_memory(list(started.values()))
        running = [started[i] for i in range(len(slots))]
        share = settings.seconds / settings.repeats
        if rounds is None:
            slowest = max(worker.warm["median_ms"] / 1e3 for worker in running)
            rounds = max(settings.min_rounds, round(share / max(settings.turn_s, slowest)))
        begins = _conditions(running, f"repeat {number} begins", recorder)
        done = 0
        for step in range(_ROUND_STEPS):
            progress(f"measuring ({number} of {settings.repeats})")
            until = rounds * (step + 1) // _ROUND_STEPS
            for _ in range(done, until):
                for i in rng.permutation(len(running)):
                    _take_turn(running[i], settings, rounds, origin, recorder)
            done = until
        ends = _conditions(running, f"repeat {number} ends", recorder)
        if recorder:
            progress(f"idle ({number} of {settings.repeats})")
            recorder.idle(settings)
        cells = tuple(_finish(worker) for worker in running)
        power = recorder.finish() if recorder else None
    return Repeat(
        number=number,
        seconds=time.monotonic() - began,
        before=before,
        begins=begins,
        ends=ends,
        cells=cells,
        power=power,
    )


def measure_profile(connect: Connect, slot: Slot, settings: Settings) -> Profile:
    """Time by operator, in a process of its own.

    Raises:
        InputError: The runtime has no profiler that we read.
        YoloEdgeError: The worker failed.
    """
    with ExitStack() as stack:
        worker = _start(stack, connect, slot, settings)
        limit = QUICK_SECONDS + 10 * settings.profile * worker.warm["median_ms"] / 1e3
        found = worker.agent.ask("profile", limit, count=settings.profile)
    return msgspec.convert(
        {
            "inferences": len(found["run_ms"]),
            "run_ms": float(np.median(found["run_ms"])),
            "outside_ms": float(np.median(found["outside_ms"])),
            "operators": found["nodes"],
        },
        Profile,
    )


def _stem(slot: Slot) -> str:
    name = slot.what.rsplit("/", 1)[-1]
    return f"{name} x{slot.threads}"


def _start(stack: ExitStack, connect: Connect, slot: Slot, settings: Settings) -> _Running:
    agent = stack.enter_context(connect(slot.label))
    try:
        loaded = agent.ask(
            "load",
            LOAD_SECONDS,
            **load_request(slot, settings),
        )
        # three inferences at least a window
        limit = QUICK_SECONDS + 10 * (settings.warm_up_cap_s + 6 * loaded["first_ms"] / 1e3)
        warm = agent.ask(
            "warm_up",
            limit,
            window_s=settings.warm_up_window_s,
            within=settings.warm_up_within,
            cap_s=settings.warm_up_cap_s,
        )
    except YoloEdgeError as error:
        raise type(error)(_about(slot, error)) from error
    return _Running(slot, agent, loaded, warm)


def load_request(slot: Slot, settings: Settings) -> dict[str, Any]:
    """What an agent is asked to load for a slot."""
    return {
        "model": slot.subject.path,
        "spec": slot.subject.spec,
        "runtime": slot.runtime,
        "threads": slot.threads,
        "image": settings.image,
        "pin": settings.pin,
        "fast": settings.fast,
    }


def _about(slot: Slot, error: YoloEdgeError) -> str:
    text = str(error)
    return text if slot.subject.name in text else f"{slot.label}: {text}"


def _take_turn(worker: _Running, settings: Settings, rounds: int, origin: float, recorder: Recorder | None) -> None:
    measured = settings.repeats * rounds
    seconds, count = settings.seconds / measured, -(-settings.inferences // measured)
    expected = seconds + (count + 1) * worker.warm["median_ms"] / 1e3
    worker.at_s.append(time.time() - origin)
    try:
        turn = worker.agent.ask(
            "turn", QUICK_SECONDS + 20 * expected, seconds=seconds, count=count, settle_s=settings.settle_s
        )
    except YoloEdgeError as error:
        raise type(error)(_about(worker.slot, error)) from error
    worker.turns.append(turn)
    if recorder:
        worker.windows.append(recorder.window(turn))
        recorder.take()


def _conditions(running: Sequence[_Running], when: str, recorder: Recorder | None) -> Conditions:
    ours = sum(worker.cpu_s for worker in running) + (recorder.cpu_s if recorder else 0.0)
    return _conditions_of(running[0].agent, when, ours)


def _conditions_of(agent: Agent, when: str, workers_s: float = 0.0) -> Conditions:
    return msgspec.convert({**agent.ask("conditions", QUICK_SECONDS), "when": when, "workers_s": workers_s}, Conditions)


def _check_memory(running: Sequence[_Running]) -> None:
    """All workers wait in memory for their turn: a machine that swaps measures its disk."""
    free = running[-1].agent.ask("conditions", QUICK_SECONDS).get("available_mb")
    total = running[-1].agent.host.get("memory_mb")
    if free is not None and total and free < _MIN_FREE * total:
        raise YoloEdgeError(
            f"{free:.0f} MB of {total:.0f} MB memory are free with {len(running)} of our workers loaded: end other "
            "programs, or measure fewer models at a time"
        )


def _finish(worker: _Running) -> CellRepeat:
    turns = worker.turns
    stages = STAGES if len(turns[0]["stages_ns"][0]) == len(STAGES) else ("inference",)
    by_stage = list(zip(*(stamps for turn in turns for stamps in turn["stages_ns"]), strict=True))
    clocks = [turn["clock_mhz"] for turn in turns]
    return msgspec.convert(
        {
            **{key: worker.loaded[key] for key in _LOADED},
            **{key: worker.loaded.get(key) for key in _COMPARED},
            "notes": worker.warm.get("notes", []),
            "warm_up_s": worker.warm["seconds"],
            "settled": worker.warm["settled"],
            "peak_mb": worker.agent.ask("memory", QUICK_SECONDS)["peak_mb"],
            "cpu_s": worker.cpu_s,
            "turns": [len(turn["stages_ns"]) for turn in turns],
            "at_s": [round(at, 4) for at in worker.at_s],
            "windows": worker.windows,
            "clock_mhz": [sum(clock) / len(clock) for clock in clocks] if all(clocks) else [],
            "cpu": encode_bytes(_cpu_percent(turns, worker.slot.threads)) if turns[0]["cpu_ns"] else None,
            "stages": {name: encode(values) for name, values in zip(stages, by_stage, strict=True)},
        },
        CellRepeat,
    )


def _cpu_percent(turns: Sequence[dict[str, Any]], threads: int) -> list[float]:
    """CPU time of each inference in percent of what its threads could take: 100 where all of them ran all the time."""
    pairs = ((used, stages) for turn in turns for used, stages in zip(turn["cpu_ns"], turn["stages_ns"], strict=True))
    return [100 * used / (max(stages[len(stages) // 2], 1) * threads) for used, stages in pairs]
