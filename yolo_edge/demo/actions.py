"""What happens when something appears or is gone: lamps, calls to a web address, programs.

Calls and programs run in threads of their own and one at a time; what comes too fast is left out and counted. One that
fails says so once, and the view goes on.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Protocol
from urllib.parse import urlsplit

from yolo_edge._version import __version__
from yolo_edge.demo.inference import Model, Result, above
from yolo_edge.demo.presence import Presence
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import first_line, printable

_CALL_S, _PROGRAM_S = 5.0, 30.0  # how long one may take
_END_S = 1.0  # that a thread gets to notice that its program was ended
_WAITING = 16  # events that wait for one action, at most

Event = dict[str, Any]
Note = Callable[[str], None]


class Action(Protocol):
    """What an event leads to."""

    def __call__(self, event: Event) -> None:
        """Do it; any `OSError` or `YoloEdgeError` says why it failed."""


class Lamps:
    """Pins of a GPIO header through gpiozero, each lit while a class is there."""

    def __init__(self, pins: Mapping[str, int]):
        """Take the pins; all lamps are off.

        Args:
            pins: Class name → pin, in Broadcom's numbers.

        Raises:
            InputError: There are no such pins, or no gpiozero.
        """
        try:
            import gpiozero  # noqa: PLC0415 - an extra that few have
        except ImportError as error:
            raise InputError("--gpio needs gpiozero; run: pip install gpiozero lgpio, on a board with pins") from error
        self._lamps: dict[str, Any] = {}
        try:
            for name, pin in pins.items():
                self._lamps[name] = gpiozero.LED(pin, initial_value=False)
        except Exception as error:  # of gpiozero and of the libraries below it, of many types
            self.close()
            raise InputError(f"--gpio: pin {pin} cannot be used here ({first_line(error)})") from error

    def switch(self, name: str, there: bool) -> None:
        """Light the lamp of a class, or put it out; classes without one are passed over."""
        lamp = self._lamps.get(name)
        if lamp is not None:
            (lamp.on if there else lamp.off)()

    def close(self) -> None:
        """Put all out and give the pins back."""
        lamps, self._lamps = self._lamps, {}
        for lamp in lamps.values():
            for end in (lamp.off, lamp.close):
                with suppress(Exception):  # one that fails keeps no other one burning
                    end()


class Webhook:
    """Posts each event as JSON to an address."""

    def __init__(self, url: str):
        """Nothing is sent yet.

        Raises:
            InputError: Not an http address.
        """
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
            _ = parts.port
        except ValueError:
            fits = False
        if not fits:
            raise InputError(f"--webhook: expected http://HOST… or https://HOST…, got {printable(url)!r}")
        self._url = url
        # no other schemes, and no redirects to them
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def __call__(self, event: Event) -> None:
        """Post one event; an answer other than 2xx is a failure."""
        headers = {"Content-Type": "application/json", "User-Agent": f"yolo-edge/{__version__}"}
        request = urllib.request.Request(self._url, json.dumps(event).encode(), headers)  # noqa: S310 - checked
        try:
            with self._opener.open(request, timeout=_CALL_S) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            raise YoloEdgeError(f"it answered {error.code}") from error
        except HTTPException as error:
            raise YoloEdgeError(f"it does not speak HTTP ({first_line(error)})") from error


class Program:
    """Starts a program for each event, which it finds as JSON on its standard input; no shell."""

    def __init__(self, command: Sequence[str]):
        """Nothing runs yet; `command` is the program and its arguments.

        Raises:
            InputError: There is none.
        """
        if not command or not command[0]:
            raise InputError("--exec: expected a program")
        if shutil.which(command[0]) is None:
            raise InputError(f"--exec {command[0]}: no such program, or it may not be executed")
        self._command = list(command)
        self._running: subprocess.Popen[bytes] | None = None

    def __call__(self, event: Event) -> None:
        """Run it to its end; another exit code than 0 is a failure."""
        told = {"YOLO_EDGE_EVENT": event["event"], "YOLO_EDGE_CLASS": event["class"].replace("\0", "")}
        process = subprocess.Popen(  # noqa: S603 - a list of the user's, nothing of a model's in it
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **told},
            start_new_session=True,
        )
        self._running = process
        try:
            process.communicate(json.dumps(event).encode() + b"\n", timeout=_PROGRAM_S)
        except subprocess.TimeoutExpired as error:
            self.end()
            raise YoloEdgeError(f"it took longer than {_PROGRAM_S:.0f} s and was ended") from error
        finally:
            self._running = None
        if process.returncode:
            raise YoloEdgeError(f"it ended with exit code {process.returncode}")

    def end(self) -> None:
        """End a program that runs, and what it started: it leads a session of its own."""
        process = self._running
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Worker:
    """A thread that does one kind of action, one event at a time."""

    def __init__(self, name: str, action: Action, note: Note):
        """Start it.

        Attributes:
            done, failed, left_out: Counts of events.
        """
        self.name = name
        self.done = self.failed = self.left_out = 0
        self._action, self._note = action, note
        self._broken = self._given_up = False
        self._events: queue.Queue[Event | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Have it done soon; left out where too many wait."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self.left_out += 1

    def close(self, grace: float = 2.0) -> None:
        """Do what waits, for so many seconds at most, and end the thread."""
        end = time.monotonic() + grace
        with suppress(queue.Full):
            self._events.put(None, timeout=grace)
        self._thread.join(max(end - time.monotonic(), 0))
        self._given_up = True
        if isinstance(self._action, Program):
            self._action.end()
            self._thread.join(_END_S)

    def _run(self) -> None:
        while (event := self._events.get()) is not None and not self._given_up:
            try:
                self._action(event)
            except (OSError, ValueError, YoloEdgeError) as error:
                self.failed += 1
                if not self._broken and not self._given_up:
                    self._note(f"{self.name} failed: {first_line(error)} (said once; the view goes on)")
                self._broken = True
                continue
            self.done += 1
            if self._broken:
                self._note(f"{self.name} works again, after {self.failed} failures")
            self._broken = False


class Watch:
    """Follows what is there, and has lamps, calls and programs told of it."""

    def __init__(
        self,
        models: Sequence[Model],
        *,
        confidence: float,
        on_after: int,
        off_after: int,
        every: float,
        lamps: Lamps | None,
        workers: Sequence[Worker],
        note: Note,
    ):
        """Nothing is there yet.

        Args:
            models: The loaded ones.
            confidence: What is at or below does not count.
            on_after: Of `Presence`.
            off_after: Of `Presence`.
            every: Seconds between two events "appeared" of a class that workers are told of.
            lamps: To switch.
            workers: To tell.
            note: Is told of failing lamps.
        """
        self._models, self._confidence = models, confidence
        self._on_after, self._off_after, self._every = on_after, off_after, every
        self._lamps, self._workers, self._note = lamps, workers, note
        self._presences: dict[str, Presence] = {}
        self._told: dict[str, float] = {}
        self._open: set[str] = set()  # classes whose coming was told, and whose going will be
        self._lamp_failed = False

    @property
    def there(self) -> list[str]:
        """Class names of what is there."""
        return sorted(name for name, presence in list(self._presences.items()) if presence.there)

    def __call__(self, result: Result) -> None:
        """Take in one frame."""
        found = result.found[0]
        names = self._models[found.model].detector.spec.names
        detections = above(found.detections, self._confidence)
        seen = {names[int(class_id)] for class_id in detections.class_id}
        for name in seen - self._presences.keys():
            self._presences[name] = Presence(self._on_after, self._off_after)
        for name, presence in self._presences.items():
            if presence.update(name in seen):
                items = [item for item in detections.to_dicts(names) if item["class"] == name]
                self._changed(name, presence.there, result.frame.number, items)

    def lost(self) -> None:
        """No pictures come: nothing is there, as far as anybody knows."""
        for name, presence in self._presences.items():
            if presence.forget():
                self._changed(name, False, None, [])

    def _changed(self, name: str, there: bool, frame: int | None, items: list[dict[str, Any]]) -> None:
        if self._lamps is not None:
            try:
                self._lamps.switch(name, there)
            except Exception as error:  # noqa: BLE001 - of gpiozero and of the libraries below it, of many types
                if not self._lamp_failed:
                    self._note(f"the lamp of {name} failed: {first_line(error)} (said once; the view goes on)")
                self._lamp_failed = True
        if not self._workers or not self._may_tell(name, there):
            return
        event = {
            "event": "appeared" if there else "gone",
            "class": name,
            "time": time.time(),
            "frame": frame,
            "detections": items,
        }
        for worker in self._workers:
            worker.put(event)

    def _may_tell(self, name: str, there: bool) -> bool:
        if not there:
            known = name in self._open
            self._open.discard(name)
            return known
        now = time.monotonic()
        if now - self._told.get(name, float("-inf")) < self._every:
            return False
        self._told[name] = now
        self._open.add(name)
        return True
