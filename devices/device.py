"""What all devices have in common: ways to run programs there, and to move files."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, TypeVar

from yolo_edge.ondevice.errors import YoloEdgeError

Self = TypeVar("Self")

MAX_TEXT = 1 << 20  # bytes of what is read as text
QUICK = 30.0  # seconds for something that takes none


class DeviceError(YoloEdgeError):
    """A device cannot be reached, or does not do what it should; the message says what to do about it."""


@dataclass(frozen=True)
class Completed:
    """A program that ended.

    Attributes:
        returncode: 0 if all went well.
        stdout: What it wrote.
        stderr: What it complained of.
    """

    returncode: int
    stdout: bytes
    stderr: bytes


class Device(Protocol):
    """A machine that programs run on: this one, or one at the other end of a cable or a network.

    A context manager: entering it connects, leaving it ends what it started there and removes what it put there.

    Attributes:
        name: As the inventory calls it.
        url: Where it is.
    """

    name: str
    url: str

    @property
    def python(self) -> str:
        """The interpreter that is to be used there."""
        ...

    @property
    def folder(self) -> str | None:
        """A folder of our own on it, removed at the end; None where it has no Python to keep one."""
        ...

    def run(self, argv: Sequence[str], *, input: bytes | IO[bytes] | None = None, timeout: float = QUICK) -> Completed:  # noqa: A002 - as in subprocess
        """Run a program to its end.

        Args:
            argv: Program and arguments, whatever letters they have; no shell of the device makes anything of them.
            input: For its standard input: bytes, or an open file.
            timeout: Seconds; then it is ended there too.

        Raises:
            DeviceError: The device is gone, or the time is over.
        """
        ...

    def stream(self, argv: Sequence[str], *, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start a program, and hold on to its standard input and output.

        Args:
            argv: As for `run`.
            errors: An open file for its standard error.

        Raises:
            DeviceError: The device is gone.
        """
        ...

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the device, whole or not at all.

        Raises:
            DeviceError: The device is gone, its disk is full, or the file may not be written there.
        """
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device, whole or not at all.

        Raises:
            DeviceError: The device is gone, or the file cannot be read.
            InputError: It cannot be written here.
        """
        ...

    def read_text(self, path: str) -> str:
        """The text of a small file on the device, such as those of /proc and /sys.

        Raises:
            DeviceError: The device is gone, or the file cannot be read.
        """
        ...

    def ended(self, returncode: int, stderr: str) -> DeviceError | None:
        """What went wrong with the device where a program ended in this way; None: nothing, it is the program's."""
        ...

    def __enter__(self: Self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def quote(argv: Sequence[str]) -> str:
    """Program and arguments as one line for a POSIX shell, which makes the same arguments of it.

    The only place where a line for a shell is made.

    Raises:
        DeviceError: An argument has a NUL, which no program can be given.
    """
    for argument in argv:
        if "\0" in argument:
            raise DeviceError(f"an argument of {argv[0]!r} has a NUL: {argument!r}")
    return shlex.join(argv)
