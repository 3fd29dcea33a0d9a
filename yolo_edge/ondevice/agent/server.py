"""Requests in, answers out: one JSON object a line."""

import dataclasses
import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, TextIO

from yolo_edge.ondevice.agent import emulation, facts, machine
from yolo_edge.ondevice.agent.requests import Request, leave, read_ahead, when_unlocked, when_unread
from yolo_edge.ondevice.errors import MissingRuntimeError, YoloEdgeError
from yolo_edge.ondevice.opencv import prepare_opencv
from yolo_edge.ondevice.power import open_meter, probe_all
from yolo_edge.ondevice.power.sampler import Sampler, be_polite, describe

PROTOCOL = 4  # changes when requests or answers do


class Agent:
    """One process on a machine: it may load a model to measure, and open some to find objects with.

    numpy, OpenCV and the runtime are imported when a request needs them, so that `peak` can set their threads before.
    """

    def __init__(self) -> None:
        self._worker: Any = None
        self._finders: List[Any] = []
        self._sampler: Optional[Sampler] = None
        self._handlers: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
            "hello": self._hello,
            "clock": self._clock,
            "facts": self._facts,
            "runtimes": self._runtimes,
            "conditions": self._conditions,
            "meters": self._meters,
            "peak": self._peak,
            "roof": self._roof,
            "idle": self._idle,
            "load": self._load,
            "warm_up": self._warm_up,
            "turn": self._turn,
            "memory": self._memory,
            "profile": self._profile,
            "open": self._open,
            "find": self._find,
            "sample": self._sample,
            "samples": self._samples,
        }

    def close(self) -> None:
        """Stop what still runs."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def answer(self, request: Any, payload: bytes = b"") -> Dict[str, Any]:
        """Do what a request asks for.

        Args:
            request: An object with `do`, the name of what to do, and its arguments.
            payload: The bytes that came with it.

        Returns:
            The answer; `{"error", "exit_code"}` where it failed, and `"missing"` where something is not installed.
        """
        try:
            if not isinstance(request, dict) or request.get("do") not in self._handlers:
                raise YoloEdgeError(f"the agent does not know this request: {str(request)[:200]}")
            return self._handlers[request["do"]]({**request, "payload": payload})
        except MissingRuntimeError as error:
            return {"error": str(error), "exit_code": error.exit_code, "missing": True}
        except YoloEdgeError as error:
            return {"error": str(error), "exit_code": error.exit_code}
        except ImportError as error:
            text = " ".join(str(error).split())[:300]
            return {"error": f"{error.name or 'a library'} does not load ({text})", "exit_code": 1, "missing": True}
        except MemoryError:
            return {"error": "out of memory", "exit_code": 1}
        except Exception as error:  # noqa: BLE001 - the other side learns of it and decides
            text = " ".join(str(error).split())[:300]
            return {"error": f"{type(error).__name__}: {text}", "exit_code": 1}

    def _hello(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"protocol": PROTOCOL, "host": {**machine.host_facts(), "emulated": emulation.is_emulated()}}

    def _facts(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"facts": facts.device_facts(), "python": facts.python_facts()}

    def _runtimes(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"runtimes": facts.check_runtimes()}

    def _conditions(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {**machine.conditions(), "power_mode": facts.power_mode()}

    def _meters(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """`meters`: a `Probe` of each kind, by `board`, what the host knows of it."""
        rows = probe_all(board=request["board"])
        return {"meters": [dataclasses.asdict(row) for row in rows]}

    def _clock(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """`monotonic_ns`, the clock of windows and of power readings."""
        return {"monotonic_ns": time.monotonic_ns()}

    def _idle(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Do nothing for `seconds`, after `settle_s`; `window_ns` is when, on the monotonic clock.

        Where a power meter is read, there are readings before and after.
        """
        time.sleep(request["settle_s"])
        if self._sampler is not None:
            self._sampler.wait()
        begins = time.monotonic_ns()
        time.sleep(request["seconds"])
        ends = time.monotonic_ns()
        if self._sampler is not None:
            self._sampler.wait()
        return {"window_ns": [begins, ends]}

    def _sample(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Begin to read the power meter `kind` with its `options`, until `deadline_s` after the last `samples`."""
        self.close()
        meter = open_meter(request["kind"], request["options"], board=request["board"])
        be_polite()
        self._sampler = Sampler(meter, request["deadline_s"], leave)
        return describe(meter)

    def _samples(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self._sampler is None:
            raise YoloEdgeError("the agent reads no power meter")
        return self._sampler.take()

    def _peak(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from yolo_edge.ondevice.agent.peak import measure_peak  # noqa: PLC0415 - imports numpy

        return measure_peak(request["threads"], request["seconds"], request["pin"])

    def _roof(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from yolo_edge.ondevice.agent.roof import measure_roof  # noqa: PLC0415 - imports numpy

        return measure_roof(request["threads"], request["seconds"], request["pin"])

    def _load(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from yolo_edge.ondevice.agent.worker import Worker  # noqa: PLC0415 - imports numpy and cv2

        self._worker = Worker(
            request["model"],
            spec=request["spec"],
            runtime=request["runtime"],
            threads=request["threads"],
            image=request["image"],
            pin=request["pin"],
            fast=request["fast"],
        )
        loaded: Dict[str, Any] = self._worker.loaded
        return loaded

    def _warm_up(self, request: Dict[str, Any]) -> Dict[str, Any]:
        warm: Dict[str, Any] = self._loaded().warm_up(request["window_s"], request["within"], request["cap_s"])
        return warm

    def _turn(self, request: Dict[str, Any]) -> Dict[str, Any]:
        turn: Dict[str, Any] = self._loaded().turn(request["seconds"], request["count"], request["settle_s"])
        return turn

    def _memory(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return machine.memory()

    def _profile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        profile: Dict[str, Any] = self._loaded().profile(request["count"])
        return profile

    def _open(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from yolo_edge.ondevice.agent.finder import Finder  # noqa: PLC0415 - imports numpy and cv2

        finder = Finder(request["model"], spec=request["spec"], options=request["options"])
        self._finders.append(finder)
        return {"runtime": finder.runtime}

    def _find(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from yolo_edge.ondevice.images import decode_image  # noqa: PLC0415 - imports numpy and cv2

        image = decode_image(request["payload"], request["name"])
        found = [finder.find(image) for finder in self._finders]
        return {"size": [image.shape[1], image.shape[0]], "found": found}

    def _loaded(self) -> Any:
        if self._worker is None:
            raise YoloEdgeError("the agent has loaded no model")
        return self._worker


def serve(agent: Agent, requests: Iterable[Request], answers: TextIO) -> None:
    """Answer each request with a line, until they end."""
    for request in requests:
        answer = agent.answer(request.value, request.payload)
        answers.write(json.dumps(answer, allow_nan=False, separators=(",", ":")) + "\n")
        answers.flush()


def main(arguments: Sequence[str] = ()) -> None:
    """Serve on standard input and output, until the input ends or nobody reads the output.

    Args:
        arguments: None, or the file whose lock says that the coordinator is there; see `keeper`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's; its end is the end of our input
    if os.getpgrp() != os.getpid() and not sys.stdin.isatty():
        os.setpgid(0, 0)  # what we start ends with us
    prepare_opencv()
    # what a library prints must not get between the answers: it goes to standard error
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    when_unread(answers.fileno(), leave)
    for path in arguments:
        when_unlocked(path, leave)
    agent = Agent()
    try:
        serve(agent, read_ahead(requests), answers)
        agent.close()
    except BrokenPipeError:  # the coordinator went away
        leave()
