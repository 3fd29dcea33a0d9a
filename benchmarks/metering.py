"""Reading a power meter while cells are measured, over the same windows."""

import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from yolo_edge.benchmarks.agents import QUICK_SECONDS, Agent, Connect
from yolo_edge.benchmarks.power import Meter, PowerRepeat, RailColumn, Window
from yolo_edge.benchmarks.samples import encode_floats
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.devices.profiles import Profile
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import reason
from yolo_edge.ondevice.power import RECORDED, parse_meter
from yolo_edge.ondevice.power.recorded import Recording, read_recording

_DEADLINE = 1800.0  # seconds after which a sampler that nobody asks ends itself: longer than a model loads
_EXTERNAL = "wire an INA219, INA226 or INA260, or record a USB or wall meter: --meter csv:FILE (docs/energy.md)"


@dataclass(frozen=True)
class Choice:
    """The meter that a run reads.

    Attributes:
        kind: Of it.
        options: Of it.
        board: What is known of the board's sensors.
        recording: The file, of the kind csv.
        others: Kinds that could be read, too.
    """

    kind: str
    options: Mapping[str, str]
    board: Mapping[str, Any]
    recording: Recording | None = None
    others: tuple[str, ...] = ()


def choose_meter(connect: Connect, wanted: str | None, profile: Profile) -> Choice | str:
    """The meter to read.

    Args:
        connect: Starts an agent on the machine.
        wanted: As `--meter` has it; None: the first that can be read.
        profile: Of the machine.

    Returns:
        The meter, or why there is none and what to do.

    Raises:
        InputError: There is no such meter or option.
        YoloEdgeError: The meter that is wanted cannot be read.
    """
    board = profile.board()
    if wanted is not None:
        kind, options = parse_meter(wanted)
        if kind == RECORDED:
            return Choice(kind, {}, board, Recording.from_options(options))
        with connect("the power meter") as agent:
            agent.ask("sample", QUICK_SECONDS, kind=kind, options=options, board=board, deadline_s=_DEADLINE)
        return Choice(kind, options, board)
    with connect("the power meter") as agent:
        rows = agent.ask("meters", QUICK_SECONDS, board=board)["meters"]
    kinds = [str(row["kind"]) for row in rows if row["available"]]
    if kinds:
        return Choice(kinds[0], {}, board, others=tuple(kinds[1:]))
    if profile.power.sensor == "none":
        return f"not measured: {profile.name} has no power sensor; {_EXTERNAL}"
    own = [row for row in rows if str(row["kind"]).partition("-")[0] == profile.power.sensor]
    reasons = [": ".join(filter(None, (row["reason"], row["remedy"]))) for row in own]
    return f"not measured: {'; '.join(reasons)}; or {_EXTERNAL}"


def check_recording(wanted: str | None) -> None:
    """Check that a recorded file is there, before a run that keeps nothing and could not read it later.

    Args:
        wanted: As `--meter` has it; other meters are not looked at.

    Raises:
        InputError: There is no such option or file.
    """
    if wanted is None or wanted.partition(":")[0] != RECORDED:
        return
    _, options = parse_meter(wanted)
    path = Path(Recording.from_options(options).path)
    try:
        problem = None if stat.S_ISREG(path.stat().st_mode) else "is not a file"
    except OSError as error:
        problem = reason(error)
    if problem is not None:  # an empty one will do: its program may write late
        raise InputError(
            f"{path}: {problem}; start the recording first, or let -o DIR keep the repeats until it is there"
        )


class Recorder:
    """Reads the meter during one repeat, in a process of its own. A context manager: leaving it ends the reading."""

    def __init__(self, connect: Connect, choice: Choice):
        """Begin.

        Raises:
            YoloEdgeError: The meter cannot be read.
        """
        self._times: list[float] = []
        self._values: list[list[float]] = []
        self._idle: list[Window] = []
        self._meter: Meter | None = None
        self._last: dict[str, Any] = {"failures": 0, "problem": "", "cpu_s": 0.0, "wall_s": 0.0}
        self._agent: Agent = connect("the power meter").__enter__()
        try:
            before = time.time()
            self._origin = int(self._agent.ask("clock", QUICK_SECONDS)["monotonic_ns"])
            after = time.time()
            self._time, self._uncertainty = (before + after) / 2, (after - before) / 2
            if choice.recording is None:
                arguments = {"kind": choice.kind, "options": choice.options, "board": choice.board}
                found = self._agent.ask("sample", QUICK_SECONDS, **arguments, deadline_s=_DEADLINE)
                self._meter = msgspec.convert(found, Meter)
        except BaseException as error:
            self._agent.__exit__(type(error), error, None)
            raise

    @property
    def cpu_s(self) -> float:
        """CPU time of the sampling so far."""
        return float(self._last["cpu_s"])

    def idle(self, settings: Settings) -> None:
        """Let the machine do nothing for a while, and note when."""
        limit = QUICK_SECONDS + settings.idle_settle_s + settings.idle_s
        answer = self._agent.ask("idle", limit, settle_s=settings.idle_settle_s, seconds=settings.idle_s)
        self._idle.append(self.window(answer))
        self.take()

    def window(self, answer: Mapping[str, Any]) -> Window:
        """When something was measured, in seconds since the sampling began."""
        begins, ends = answer["window_ns"]
        return ((begins - self._origin) / 1e9, (ends - self._origin) / 1e9)

    def take(self) -> None:
        """Fetch what was read since the last time; the device keeps only so much.

        Raises:
            YoloEdgeError: What came is damaged, or the agent does not answer.
        """
        if self._meter is None:
            return
        self._last = self._agent.ask("samples", QUICK_SECONDS)
        width = len(self._meter.columns)
        for stamp, row in zip(self._last["times_ns"], self._last["values"], strict=True):
            if len(row) != width:
                raise YoloEdgeError(f"the power meter gave {len(row)} values, expected {width}")
            self._times.append((stamp - self._origin) / 1e9)
            self._values.append(row)

    def finish(self) -> PowerRepeat:
        """All that was read."""
        self.take()
        before, after = self._idle
        return PowerRepeat(
            meter=self._meter,
            time=self._time,
            uncertainty_s=self._uncertainty,
            idle=(before, after),
            times=encode_floats(np.array(self._times)),
            values=encode_floats(np.array(self._values)),
            readings=len(self._times),
            failures=int(self._last["failures"]),
            problem=str(self._last["problem"])[:500],
            cpu_s=self.cpu_s,
            wall_s=float(self._last["wall_s"]),
        )

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._agent.__exit__(kind, error, trace)


def with_recording(repeats: Sequence[PowerRepeat], recording: Recording) -> list[PowerRepeat]:
    """Repeats with their part of a recorded file, on the device's clock.

    Raises:
        InputError: The file cannot be used, or holds nothing of the run.
    """
    trace = read_recording(recording)
    meter = Meter(
        kind=trace.kind,
        scope=trace.scope,
        estimated=False,
        what=recording.path,
        total=trace.total,
        columns=tuple(RailColumn(rail=column.rail, unit=column.unit) for column in trace.columns),
        interval_s=0.0,
    )
    first, last = repeats[0], repeats[-1]
    if trace.times[-1] < last.time + last.idle[1][1] or trace.times[0] > first.time + first.idle[0][0]:
        raise InputError(
            f"{recording.path}: its times go from {_clock(trace.times[0])} to {_clock(trace.times[-1])}, the run from "
            f"{_clock(first.time + first.idle[0][0])} to {_clock(last.time + last.idle[1][1])}: the file has to hold "
            "all of it (offset=SECONDS moves its times)"
        )
    found = []
    for repeat in repeats:
        times = trace.times - repeat.time
        begin = max(int(np.searchsorted(times, repeat.idle[0][0])) - 1, 0)
        end = int(np.searchsorted(times, repeat.idle[1][1])) + 1
        found.append(
            msgspec.structs.replace(
                repeat,
                meter=meter,
                times=encode_floats(times[begin:end]),
                values=encode_floats(trace.values[begin:end]),
                readings=len(times[begin:end]),
            )
        )
    return found


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
