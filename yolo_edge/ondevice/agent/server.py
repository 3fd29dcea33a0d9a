"""Requests in, answers out: one JSON object a line."""

import dataclasses
import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, Optional, TextIO

from yolo_edge.ondevice.agent import machine
from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.power import open_meter, probe_all
from yolo_edge.ondevice.power.sampler import Sampler, be_polite, describe

PROTOCOL = 3  # changes when requests or answers do


class Agent:
    """One process of the measured machine: it may load one model.

    numpy, OpenCV and the runtime are imported when a request needs them, so that `peak` can set their threads before.
    """

    def __init__(self) -> None:
        self._worker: Any = None
        self._sampler: Optional[Sampler] = None
        self._handlers: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
            "hello": self._hello,
            "clock": self._clock,
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
            "sample": self._sample,
            "samples": self._samples,
        }

    def close(self) -> None:
        """Stop what still runs."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def answer(self, request: Any) -> Dict[str, Any]:
        """Do what a request asks for.

        Args:
            request: An object with `do`, the name of what to do, and its arguments.

        Returns:
            The answer; `{"error", "exit_code"}` where it failed.
        """
        try:
            if not isinstance(request, dict) or request.get("do") not in self._handlers:
                raise YoloEdgeError(f"the agent does not know this request: {str(request)[:200]}")
            return self._handlers[request["do"]](request)
        except YoloEdgeError as error:
            return {"error": str(error), "exit_code": error.exit_code}
        except MemoryError:
            return {"error": "out of memory", "exit_code": 1}
        except Exception as error:  # noqa: BLE001 - the other side learns of it and decides
            text = " ".join(str(error).split())[:300]
            return {"error": f"{type(error).__name__}: {text}", "exit_code": 1}

    def _hello(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"protocol": PROTOCOL, "host": machine.host_facts()}

    def _conditions(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return machine.conditions()

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
        self._sampler = Sampler(meter, request["deadline_s"], _leave)
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

    def _loaded(self) -> Any:
        if self._worker is None:
            raise YoloEdgeError("the agent has loaded no model")
        return self._worker


def serve(agent: Agent, requests: TextIO, answers: TextIO) -> None:
    """Answer each line of `requests` with a line, until they end."""
    for line in requests:
        try:
            request: Optional[Any] = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        answers.write(json.dumps(agent.answer(request), allow_nan=False, separators=(",", ":")) + "\n")
        answers.flush()


def main() -> None:
    """Serve on standard input and output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's; its end is the end of our input
    # what a library prints must not get between the answers: it goes to standard error
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "r", encoding="utf-8")
    agent = Agent()
    try:
        serve(agent, requests, answers)
        agent.close()
    except BrokenPipeError:  # the coordinator went away
        _leave()


def _leave() -> None:
    """End at once, whatever this process is in the middle of."""
    os._exit(1)
