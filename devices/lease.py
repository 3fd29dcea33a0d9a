"""The program that keeps a connection: while it is told now and then that we are here, what is ours stays there."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TypeVar

from yolo_edge.devices.processes import read_line

T = TypeVar("T", bound="Leased")

_CLOSE_SECONDS = 5
_MOST_COMPLAINT = 1 << 16


class Lease:
    """A running program whose input is a pipe; each line that it gets is a sign of life.

    Attributes:
        process: The program.
    """

    def __init__(self, start: "Callable[[IO[bytes]], subprocess.Popen[bytes]]"):
        """Nothing is sent yet.

        Args:
            start: Starts the program, with pipes for input and output; gets the file for its standard error.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the lease
        try:
            self.process = start(self._log)
        except BaseException:
            self._log.close()
            raise
        self._over = threading.Event()

    def keep(self, name: str, every: float) -> None:
        """Send a sign of life each so many seconds, from a thread of this name."""
        threading.Thread(target=self._beat, args=(every,), name=name, daemon=True).start()

    def first_line(self, seconds: float, limit: int) -> bytes | None:
        """What it says first; see `read_line`."""
        return read_line(self.process, seconds, limit)

    def is_over(self, within: float) -> bool:
        """Whether it ended, or does within so many seconds."""
        end = time.monotonic() + within
        while self.process.poll() is None:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        return True

    def complaint(self) -> str:
        """What it wrote to standard error."""
        self._log.seek(0)
        return self._log.read(_MOST_COMPLAINT).decode("utf-8", "replace")

    def close(self) -> None:
        """End it, and with it what is ours on the other side."""
        self._over.set()
        process = self.process
        try:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(_CLOSE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._log.close()

    def _beat(self, every: float) -> None:
        stdin = self.process.stdin
        assert stdin is not None  # noqa: S101 - it is a pipe
        while not self._over.wait(every):
            try:
                stdin.write(b"\n")
            except (OSError, ValueError):  # gone, or closed
                return


class Leased:
    """A device that a lease keeps the connection to. A context manager: closed also where connecting failed."""

    _lease: Lease | None = None

    def _connect(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        if self._lease is not None:
            self._lease.close()

    def __enter__(self: T) -> T:
        try:
            self._connect()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
