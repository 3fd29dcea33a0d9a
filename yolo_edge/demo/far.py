"""A demo on a device of the inventory: started there, looked at through a port of this machine."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from yolo_edge.demo.demo import Settings
from yolo_edge.demo.lines import Lines
from yolo_edge.demo.link import END_S, Link
from yolo_edge.devices import profiles, termux
from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.finding import FarDetector
from yolo_edge.devices.package import package_zip
from yolo_edge.devices.session import Session
from yolo_edge.devices.ssh import SshDevice
from yolo_edge.devices.wheels import setup_command
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable, reason
from yolo_edge.serving.address import Address, bracketed, listen

OLDEST = (3, 10)  # Python of a device
VIDEOS = ".local/share/yolo-edge/videos"  # in the user's folder there, until they are fetched

_FILES = (
    "demo/*.py",
    "demo/*.css",
    "demo/*.html",
    "demo/*.js",
    "serving/*.py",
    "sample/__init__.py",
    "sample/scenes/*.py",
)
_PROGRAM = "yolo_edge_demo.py"
_MAIN = """\
import sys

from yolo_edge.ondevice.agent.emulation import become_stated_cpu

become_stated_cpu()

from yolo_edge.demo.station import main

main(sys.argv[1:])
"""
_START_S = 300.0  # to load models on a slow board
_LOOK_S = 20.0  # until the page answers through the forwarded port
_OFFER_S = 0.25
# folders that are empty then go, too
_FORGET = 'rm -f -- "$1"; cd -- "$2" && rmdir -p -- "$3" 2>/dev/null; exit 0'


@dataclass(frozen=True)
class FarModel:
    """A model that is to run there; the attributes are those of `yolo_edge.demo.inference.Model`."""

    name: str
    detector: FarDetector
    classes: frozenset[int] | None = None


@dataclass(frozen=True)
class Place:
    """What a demo takes from its device.

    Attributes:
        source: The `--source` option; a path is one there.
        capture_size: Width and height that a camera is asked for.
        meter: The `--meter` option.
    """

    source: str
    capture_size: tuple[int, int] | None = None
    meter: str | None = None


class FarDemo:
    """A demo that runs on a device. A context manager: leaving it ends it there, lamps out and files complete.

    Attributes:
        port: Of the page, on the device's loopback; None: there is no page.
        frames: How many there are, as the source says it; None: it does not say.
        emulated: Rates and times mean nothing there.
    """

    def __init__(
        self,
        device: SshDevice,
        models: Sequence[FarModel],
        place: Place,
        settings: Settings,
        *,
        view: bool,
        note: Callable[[str], None],
    ):
        """Start it, and wait until it runs.

        Args:
            device: Connected.
            models: To load there; the first runs first.
            place: What it takes from the device.
            settings: As of a demo here. The video comes here at the end; `jsonl` is a stream of this process.
            view: Serve the page, with the token of `settings`.
            note: Is told what a person should know.

        Raises:
            InputError: Something that was asked for is not there.
            DeviceError: The device is gone, lacks something, or is too old.
        """
        self._device, self._settings, self._note = device, settings, note
        self._summary = ""
        self._every_frame, self._left_out = False, 0
        self._runtime = models[0].detector.runtime  # of all: an option of the command
        self._video = _video_there(device, settings.save)
        self.port: int | None = None
        self.frames: int | None = None
        self.emulated = False
        session = Session(device)
        _check_python(device)
        command = session.bring(package_zip(_FILES, _PROGRAM, _MAIN), _PROGRAM)
        self._session = session
        order = self._order(models, place, view)
        self._link = Link(device, command)
        try:
            self._start(order)
        except BaseException:
            self.close()
            raise

    def forward(self, address: Address) -> int:
        """Serve the page on an address of this machine; the port that it is on.

        Raises:
            InputError: The address cannot be listened on.
            DeviceError: The device forwards no ports.
        """
        with listen(address.host, address.port) as free:
            port = int(free.getsockname()[1])
        self._device.forward(address.host, port, self.port or 0)
        self._check_page(address.host, port)
        return port

    def run(self, stop: threading.Event, show: Callable[[int, str], None] = lambda done, text: None) -> str:
        """Wait until it ends, or `stop` is set; what was done, for a person.

        Args:
            stop: Set by a signal.
            show: Is told four times a second how many frames there were, and how it goes.

        Raises:
            YoloEdgeError: It ended before its time.
        """
        stream = self._settings.jsonl
        lines = None if stream is None else Lines(stream, self._note)
        try:
            self._follow(stop, lines, show)
        except DeviceError as error:
            if self._video is None or self._device.ended(255, "") is None:
                raise
            raise DeviceError(f"{error}; {self._kept}") from error
        finally:
            if lines is not None:
                lines.close()
        return self._summary

    def close(self) -> None:
        """End it; by force where it does not end by itself."""
        self._link.close()

    def __enter__(self) -> "FarDemo":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, models: Sequence[FarModel], place: Place, view: bool) -> dict[str, Any]:
        settings = {**asdict(_plain(self._settings)), "save": self._video, "jsonl": self._settings.jsonl is not None}
        return {
            "source": place.source,
            "capture_size": place.capture_size,
            "meter": place.meter,
            "view": view,
            "models": [
                {
                    "name": model.name,
                    "path": self._session.place(model.detector.model),
                    "spec": model.detector.spec.to_json(),
                    "options": model.detector.options,
                    "classes": None if model.classes is None else sorted(model.classes),
                }
                for model in models
            ],
            "settings": settings,
        }

    def _start(self, order: dict[str, Any]) -> None:
        hello = self._wait_for("hello")
        self.emulated = hello.get("emulated") is True
        model = hello.get("model")
        board = profiles.match(model if isinstance(model, str) else None).board()
        self._link.send({**order, "board": board})
        ready = self._wait_for("ready")
        port, frames = ready.get("port"), ready.get("frames")
        if order["view"] and not (isinstance(port, int) and 0 < port < 1 << 16):
            raise self._link.nonsense(ready)
        self.port = port if order["view"] else None
        self.frames = frames if isinstance(frames, int) and frames > 0 else None
        self._every_frame = ready.get("every_frame") is True

    def _wait_for(self, kind: str) -> dict[str, Any]:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            message = self._link.next()
            if message is None:
                continue
            if "note" in message:
                self._tell(message["note"])
            elif isinstance(message.get(kind), dict):
                found: dict[str, Any] = message[kind]
                return found
            else:
                raise self._failure(message)
        raise DeviceError(f"{self._device.name}: the demo does not start there within {_START_S:.0f} s: is it busy?")

    def _follow(self, stop: threading.Event, lines: Lines | None, show: Callable[[int, str], None]) -> None:
        waiting = ""  # for the reader of --jsonl, who may take his time with a file
        end: float | None = None
        while True:
            if end is None and (stop.is_set() or self._nobody_left(lines)):
                self._link.send("stop")
                end = time.monotonic() + END_S
            if end is not None and time.monotonic() > end:
                raise DeviceError(f"{self._device.name}: the demo does not end there within {END_S:.0f} s")
            if waiting and lines is not None and not lines.closed.is_set():
                patient = self._every_frame and end is None
                if not lines.offer(waiting, _OFFER_S if patient else 0):
                    if patient:
                        continue
                    self._left_out += 1
            waiting = ""
            message = self._link.next()
            if message is None:
                continue
            if isinstance(message.get("jsonl"), str):
                waiting = self._checked(message["jsonl"])
            elif "note" in message:
                self._tell(message["note"])
            elif "status" in message:
                self._show(message["status"], show)
            elif isinstance(message.get("done"), dict):
                self._summary = self._here(str(message["done"].get("summary")))
                if self._left_out:
                    self._summary += f"; {self._left_out} left out of --jsonl, whose reader was slow"
                self._fetch(message["done"])
                return
            else:
                raise self._failure(message)

    def _nobody_left(self, lines: Lines | None) -> bool:
        """Whether the only one who took anything went away."""
        settings = self._settings
        others = (self.port, settings.save, settings.gpio, settings.webhook, settings.command)
        if lines is None or not lines.closed.is_set() or any(others):
            return False
        self._note("nothing is left to do")
        return True

    def _checked(self, text: str) -> str:
        """Lines of JSON, which a pipe may have."""
        try:
            return "".join(json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in text.split("\n") if line)
        except (ValueError, RecursionError):
            raise self._link.nonsense(text[:80]) from None

    def _tell(self, text: object) -> None:
        self._note(f"{self._device.name}: {self._here(str(text))}")

    def _show(self, status: object, show: Callable[[int, str], None]) -> None:
        if isinstance(status, dict) and isinstance(status.get("frames"), int):
            show(status["frames"], printable(str(status.get("text")))[:200])

    def _fetch(self, message: Mapping[str, object]) -> None:
        """Bring the video here."""
        target = self._settings.save
        if self._video is None or target is None or message.get("video") != self._video:
            return
        self._note("fetching the video …")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{target.parent}: cannot be made ({reason(error)}); {self._kept}") from error
        try:
            self._device.pull(self._video, target)
        except YoloEdgeError as error:
            raise type(error)(f"{error}; {self._kept}") from error
        self._device.run(["sh", "-c", _FORGET, "sh", self._video, self._device.hello.home or "/", VIDEOS])

    @property
    def _kept(self) -> str:
        return f"what was recorded is kept there: {self._video}"

    def _here(self, text: str) -> str:
        """What the device says, with the names that files have here."""
        if self._video is not None:
            text = text.replace(self._video, str(self._settings.save))
        return self._session.translate(text).removeprefix(f"{self._device.name}: ")

    def _failure(self, message: Mapping[str, object]) -> YoloEdgeError:
        error = message.get("error")
        if not isinstance(error, dict):
            return self._link.nonsense(message)
        self._fetch(error)
        text = f"{self._device.name}: {printable(self._here(str(error.get('text'))))}"
        # what Termux lacks of runtimes, it has no package of
        is_termux = termux.is_termux({"executable": self._device.hello.executable})
        if error.get("missing") == "library" and is_termux:
            text += "; run: python -m pip install starlette uvicorn websockets, there"
        elif error.get("missing") in ("library", "runtime") and not is_termux:
            text = f"{text.partition('; run: ')[0]}; run: {setup_command(self._device.name, self._runtime)}"
        return InputError(text) if error.get("exit_code") == InputError.exit_code else YoloEdgeError(text)

    def _check_page(self, host: str, port: int) -> None:
        """Look at the page once: a server that forwards no ports says so only when somebody comes."""
        token = self._settings.token
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where nobody can go
        request = urllib.request.Request(
            f"http://{bracketed(name)}:{port}/status.json", headers={"Authorization": f"Bearer {token}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_LOOK_S) as answer:
                answer.read(1)
        except (OSError, HTTPException, ValueError) as error:
            raise DeviceError(
                f"{self._device.name}: the page cannot be reached through ssh ({printable(str(error))[:200]}): its SSH "
                "server has to forward ports (AllowTcpForwarding in sshd_config); --no-view does without the page"
            ) from error


def _plain(settings: Settings) -> Settings:
    """Without what cannot be copied."""
    return replace(settings, jsonl=None, save=None)


def _video_there(device: SshDevice, target: Path | None) -> str | None:
    if target is None:
        return None
    home = device.hello.home
    if home is None:
        raise DeviceError(f"{device.name}: its user has no home folder")
    unique = f"{time.time_ns():x}"
    return f"{home.rstrip('/')}/{VIDEOS}/{unique}{target.suffix.lower()}"


def _check_python(device: SshDevice) -> None:
    version = device.hello.python
    if version is None or version[:2] < OLDEST:
        found = "none" if version is None else ".".join(map(str, version))
        raise DeviceError(
            f"{device.name}: its Python is {found}, a demo needs {'.'.join(map(str, OLDEST))}: install one beside it, "
            f"then: yolo-edge devices add {device.name} {device.url} --replace --python PROGRAM, and devices setup"
        )
