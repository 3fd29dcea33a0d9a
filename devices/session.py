"""Our agent on a device: brought there, started, and given its files."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolo_edge.devices.agents import AgentProcess, local_command
from yolo_edge.devices.android import NO_AGENT
from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.devices.inventory import LOCAL, Entry
from yolo_edge.devices.package import agent_zip
from yolo_edge.devices.transports import open_device
from yolo_edge.ondevice.agent.keeper import ENVIRONMENT
from yolo_edge.ondevice.files import printable, read_bytes
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES

OLDEST = (3, 8)

_SECONDS = 120.0  # to unpack some hundred kB, on a slow board
_FILES = ("model", "image")  # arguments of requests that name files of this machine

# runs in whatever Python there is: the agent's own folder, of which Python runs __main__.py
_UNPACK = """\
import io, json, os, sys, zipfile
if sys.version_info < ({0}, {1}):
    sys.exit("%d.%d.%d is too old" % sys.version_info[:3])
with zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())) as archive:
    archive.extractall(sys.argv[1])
import compileall
compileall.compile_dir(sys.argv[1], quiet=1)
"""


class AgentMissingError(DeviceError):
    """A device has no Python that the agent runs with; what it is can be read from its files all the same."""

    def __init__(self, name: str, reason: str, remedy: str):
        super().__init__(f"{name}: {reason}: {remedy}")
        self.remedy = remedy


class DeviceAgent(AgentProcess):
    """An agent on a device: the files that requests name are those of this machine, and are brought there."""

    def __init__(self, session: "Session", name: str):
        """Start it; arguments and errors are those of `AgentProcess`."""
        self._session = session
        super().__init__(session.command, name, device=session.device, translate=session.translate)

    def ask(self, do: str, timeout: float, **arguments: object) -> dict[str, Any]:
        """See `AgentProcess`."""
        for key in _FILES:
            path = arguments.get(key)
            if isinstance(path, str):
                arguments[key] = self._session.place(Path(path))
        return super().ask(do, timeout, **arguments)


class Session:
    """A device with our agent on it."""

    def __init__(self, device: Device, python: str | None = None):
        """Bring the agent there.

        Args:
            device: Connected.
            python: The interpreter to use there; None: the device's.

        Attributes:
            device: The same.

        Raises:
            DeviceError: It has no Python, or one that is too old; it is gone; its disk is full.
        """
        again = f"yolo-edge devices add {device.name} {device.url} --replace --python"
        if not device.python:
            raise AgentMissingError(device.name, "adb reaches no Python there", NO_AGENT)
        if device.folder is None:
            raise AgentMissingError(
                device.name,
                f"there is no {device.python} there",
                f"sudo apt install python3 (Termux: pkg install python), or say where one is: {again} PATH",
            )
        self.device, self._interpreter = device, python or device.python
        self._agent = f"{device.folder}/agent"
        self._placed: dict[str, str] = {}  # sha256 → path there
        self._names: dict[str, str] = {}  # path there → path here
        self._unpack(agent_zip(), again)

    def bring(self, archive: bytes, program: str) -> list[str]:
        """Unpack more of ours beside the agent; what starts it there, see `command`.

        Args:
            archive: Of `yolo_edge.devices.package.package_zip`.
            program: The name of its program.

        Raises:
            DeviceError: It is gone; its disk is full.
        """
        self._unpack(archive, "")
        return [*self._python, f"{self._agent}/{program}", f"{self.device.folder}/alive"]

    def _unpack(self, archive: bytes, again: str) -> None:
        device = self.device
        done = device.run([*self._python, "-c", _UNPACK.format(*OLDEST), self._agent], input=archive, timeout=_SECONDS)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
            said = printable(lines[-1])[:300]
            if said.endswith("is too old"):
                raise AgentMissingError(
                    device.name,
                    f"its Python {said}: the agent needs {'.'.join(map(str, OLDEST))}",
                    "install one beside it (JetPack 4: sudo apt install python3.8 python3.8-venv), then: "
                    f"{again} python3.8",
                )
            remedy = ": free some space there" if "No space left" in said else ""
            raise DeviceError(f"{device.name}: the agent cannot be unpacked there ({said}){remedy}")

    @property
    def command(self) -> list[str]:
        """What starts an agent on the device; it ends when the device's folder is let go."""
        return [*self._python, self._agent, f"{self.device.folder}/alive"]

    @property
    def _python(self) -> list[str]:
        # an environment of ours is complete: PYTHONPATH of the account would come first
        ours = self._interpreter.endswith(f"/{ENVIRONMENT}/bin/python")
        return [self._interpreter, "-E", "-s"] if ours else [self._interpreter]

    def connect(self, what: str) -> DeviceAgent:
        """Start an agent.

        Args:
            what: What it is for, for messages.

        Raises:
            DeviceError: It cannot be started, or the device is gone.
        """
        return DeviceAgent(self, f"{what} on {self.device.name}")

    def place(self, path: Path) -> str:
        """Bring a file to the device, once; its path there.

        Raises:
            InputError: It cannot be read.
            DeviceError: It cannot be brought there.
        """
        digest = hashlib.sha256(read_bytes(path, MAX_MODEL_BYTES)).hexdigest()
        if digest not in self._placed:
            suffix = path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix) else ""
            remote = f"{self.device.folder}/{digest[:16]}{suffix}"
            self.device.push(path, remote)
            self._placed[digest] = remote
        self._names[self._placed[digest]] = str(path)
        return self._placed[digest]

    def translate(self, text: str) -> str:
        """What the agent complains of, with the names that files have here."""
        for remote, local in self._names.items():
            text = text.replace(remote, local)
        return f"{self.device.name}: {text}"


@contextmanager
def session_on(name: str, entry: Entry) -> Iterator[Callable[[str], AgentProcess]]:
    """A way to start agents on a device, this machine among them; its argument says what for.

    Raises:
        InputError: Its address is none.
        DeviceError: It cannot be used.
    """
    if name == LOCAL:
        yield lambda what: AgentProcess(local_command(), what)
        return
    with open_device(name, entry) as device:
        yield Session(device).connect
