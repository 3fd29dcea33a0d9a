"""This machine."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from yolo_edge.devices.device import MAX_TEXT, QUICK, Completed, DeviceError
from yolo_edge.devices.inventory import LOCAL, Entry
from yolo_edge.devices.processes import communicate
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.ondevice.files import not_written, reason, write_atomically


class LocalDevice:
    """This machine as a `Device`."""

    def __init__(self, name: str = LOCAL, entry: Entry | None = None):
        self.name, self.url = name, f"{LOCAL}:"
        self.python = sys.executable
        self.folder: str | None = None
        self._stack = ExitStack()

    def run(self, argv: Sequence[str], *, input: bytes | IO[bytes] | None = None, timeout: float = QUICK) -> Completed:  # noqa: A002
        """See `Device`."""
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell
                list(argv),
                stdin=subprocess.PIPE if isinstance(input, bytes) else input or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            return Completed(127, b"", f"{argv[0]}: {reason(error)}".encode())
        done = communicate(process, input if isinstance(input, bytes) else None, timeout)
        if done is None:
            raise DeviceError(f"{self.name}: no answer from {argv[0]} within {timeout:g} s")
        return done

    def stream(
        self, argv: Sequence[str], *, errors: IO[bytes], environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """See `Device`; `environment` are the program's variables, None: those of this process."""
        try:
            # a session of its own: Ctrl-C ends this process, and the end of its input ends the program
            return subprocess.Popen(  # noqa: S603 - no shell
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
                cwd="/",  # Python imports from the current folder first: what lies there is none of ours
                env=None if environment is None else dict(environment),
            )
        except OSError as error:
            raise DeviceError(f"{self.name}: {argv[0]} does not start ({reason(error)})") from error

    def push(self, local: Path, remote: str) -> None:
        """See `Device`."""
        try:
            write_atomically(remote, local.read_bytes())
        except OSError as error:
            raise not_written(remote, error) from error

    def pull(self, remote: str, local: Path) -> None:
        """See `Device`."""
        try:
            data = Path(remote).read_bytes()
        except OSError as error:
            raise DeviceError(f"{self.name}: {remote}: {reason(error)}") from error
        write_atomically(local, data)

    def read_text(self, path: str) -> str:
        """See `Device`."""
        try:
            with Path(path).open("rb") as file:
                return file.read(MAX_TEXT).decode("utf-8", "replace")
        except OSError as error:
            raise DeviceError(f"{self.name}: {path}: {reason(error)}") from error

    def ended(self, returncode: int, stderr: str) -> DeviceError | None:
        """See `Device`: this machine is always there."""
        return None

    def __enter__(self) -> "LocalDevice":
        self.folder = str(self._stack.enter_context(scratch_folder()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def own_environment() -> dict[str, str]:
    """The variables of this process, with the places that it imports from."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)}  # noqa: PTH100
