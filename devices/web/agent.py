"""An agent in a browser: what is asked of agents, as commands for a page."""

import itertools
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import msgspec

from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.web.facts import PageFacts, host_of
from yolo_edge.devices.web.reference import Reference, read_outputs
from yolo_edge.devices.web.session import Session
from yolo_edge.ondevice.errors import YoloEdgeError

RUNTIME = "onnxruntime-web"

_CLOSE_SECONDS = 10.0
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class _Loaded(msgspec.Struct):
    start_ms: _Milliseconds
    load_ms: _Milliseconds
    first_ms: _Milliseconds
    threads: int
    outputs: Any


class _Warm(msgspec.Struct):
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e6)]
    settled: bool
    median_ms: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    batch: Annotated[int, msgspec.Meta(ge=1, le=10**6)]


class _Turn(msgspec.Struct):
    times_ns: Annotated[list[_Nanoseconds], msgspec.Meta(min_length=1)]
    window_ns: tuple[_Nanoseconds, _Nanoseconds]


class _Conditions(msgspec.Struct):
    charging: bool | None = None


class Models:
    """The models that a page may be given, and what this machine computes of them."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self._numbers: dict[tuple[str, str | None], int] = {}

    def add(self, path: str, spec: str | None, image: str | None) -> Reference:
        """Take a model in: run it here.

        Args:
            path: Of the file.
            spec: The JSON of its spec; None: it has none.
            image: A picture; None: the synthetic one.

        Raises:
            InputError: It cannot be used.
        """
        reference = Reference(Path(path), spec, image)
        self._numbers[path, spec] = len(self.references)
        self.references.append(reference)
        return reference

    def number(self, path: str, spec: str | None) -> int:
        """Of a model that was taken in."""
        return self._numbers[path, spec]


class BrowserAgents:
    """Starts agents in the page of a session.

    Attributes:
        host: What the page told of its device.
    """

    def __init__(self, session: Session, models: Models, facts: PageFacts, version: str):
        """For a page that has begun.

        Args:
            session: Of the page.
            models: That it can be given.
            facts: That it told.
            version: Of onnxruntime-web.
        """
        self.host = host_of(facts, version)
        self._session, self._models = session, models
        self._clock_ms = facts.clock_us / 1e3
        self._numbers = itertools.count(1)

    def __call__(self, what: str) -> "BrowserAgent":
        """Start an agent; `what` says what for."""
        return BrowserAgent(self._session, self._models, self.host, next(self._numbers), what, self._clock_ms)


class BrowserAgent:
    """An agent in a page: a worker of the browser once it has a model. A context manager: leaving it ends the worker.

    Attributes:
        host: What the page told of its device.
    """

    def __init__(
        self, session: Session, models: Models, host: Mapping[str, Any], number: int, what: str, clock_ms: float
    ):
        """Nothing is sent yet; arguments are those of `BrowserAgents`, with a number of its own."""
        self.host = dict(host)
        self._session, self._models, self._number, self._what = session, models, number, what
        self._clock_ms = clock_ms
        self._begun = False

    def ask(self, do: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """See `yolo_edge.devices.agents.AgentProcess.ask`; of its requests those that rounds of a benchmark need.

        Raises:
            YoloEdgeError: The job failed there.
            DeviceError: The page is gone, or answers something else.
        """
        handlers = {"conditions": self._conditions, "load": self._load, "warm_up": self._warm_up, "turn": self._turn}
        if do == "memory":
            return {"peak_mb": None}  # no browser shows it
        if do not in handlers:
            raise YoloEdgeError(f"{self._what}: a browser is not asked for {do!r}")
        try:
            return handlers[do](timeout, arguments)
        except (msgspec.ValidationError, ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"{self._what}: the page answers something else than expected ({error})") from error

    def __enter__(self) -> "BrowserAgent":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._begun:
            self._session.ask("close", _CLOSE_SECONDS, agent=self._number)

    def _conditions(self, timeout: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = msgspec.convert(self._session.ask("conditions", timeout)[0], _Conditions)
        return {"time": time.time(), "charging": found.charging}

    def _load(self, timeout: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
        number = self._models.number(arguments["model"], arguments["spec"])
        reference = self._models.references[number]
        self._begun = True
        answer, payload = self._session.ask(
            "load",
            timeout,
            agent=self._number,
            model=number,
            threads=arguments["threads"],
            input={"name": reference.input_name, "type": reference.tensor.dtype.name, "dims": reference.tensor.shape},
        )
        loaded = msgspec.convert(answer, _Loaded)
        if loaded.threads != arguments["threads"]:
            raise YoloEdgeError(
                f"{self._what}: the browser gives {loaded.threads} thread instead of {arguments['threads']}: the page "
                "is not cross-origin isolated, or its browser has no threads"
            )
        compared = reference.compare(read_outputs(loaded.outputs, payload))
        return {
            "runtime": RUNTIME,
            "runtime_version": self.host["versions"][RUNTIME],
            "precise": None,
            "start_ms": loaded.start_ms,
            "load_ms": loaded.load_ms,
            "first_ms": loaded.first_ms,
            "base_mb": None,
            "cpus": None,
            "detections": compared.detections,
            "picture": reference.picture,
            "agreement": compared.agreement,
            "snr_db": compared.snr_db,
        }

    def _warm_up(self, timeout: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
        warm = msgspec.convert(self._session.ask("warm_up", timeout, agent=self._number, **arguments)[0], _Warm)
        notes = []
        if warm.batch > 1:
            steps = f"the browser's clock has steps of {self._clock_ms:g} ms"
            notes.append(f"a sample is the mean of {warm.batch} inferences: {steps}")
        return {"seconds": warm.seconds, "settled": warm.settled, "median_ms": warm.median_ms, "notes": notes}

    def _turn(self, timeout: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
        turn = msgspec.convert(self._session.ask("turn", timeout, agent=self._number, **arguments)[0], _Turn)
        if not math.fsum(turn.times_ns):
            raise ValueError("inferences of 0 ms")
        return {
            "stages_ns": [[time_ns] for time_ns in turn.times_ns],
            "cpu_ns": None,
            "window_ns": turn.window_ns,
            "cpu_s": 0.0,
            "clock_mhz": [],
        }
