"""The line to a demo that runs on a device: JSON objects, a line each, both ways."""

import json
import selectors
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from yolo_edge.devices.agents import BY_A_SIGNAL
from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.ondevice.files import printable

END_S = 60.0  # that it may take to end, with a video to complete

_POLL_S = 0.25
_LONGEST = 4 << 20  # bytes of a message


class Link:
    """A program on a device that is told something, and tells something, now and then."""

    def __init__(self, device: Device, command: Sequence[str]):
        """Start it.

        Args:
            device: Connected.
            command: Program and arguments.

        Raises:
            DeviceError: The device is gone.
        """
        self._device, self._rest = device, b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the link
        try:
            self._process = device.stream(command, errors=self._log)
        except BaseException:
            self._log.close()
            raise

    def send(self, message: object) -> None:
        """Tell it something.

        Raises:
            DeviceError: It ended.
        """
        stream = self._process.stdin
        assert stream is not None  # noqa: S101 - it is a pipe
        left = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while left:
                left = left[stream.write(left) or 0 :]
        except OSError as error:
            raise self._ended() from error

    def next(self) -> dict[str, Any] | None:
        """The next message; None where none comes within a quarter of a second.

        Raises:
            DeviceError: It ended, or says something else.
        """
        if b"\n" not in self._rest:
            part = self._read()
            if part is None:
                return None
            if not part:
                raise self._ended()
            self._rest += part
            if len(self._rest) > _LONGEST:
                raise self.nonsense(self._rest[:80])
            if b"\n" not in self._rest:
                return None
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise self.nonsense(line[:80])
        return message

    def nonsense(self, message: object) -> DeviceError:
        """The error for a message that none of ours says."""
        return DeviceError(f"{self._device.name}: says what no demo says: {printable(repr(message))[:120]}")

    def close(self) -> None:
        """End it by the end of its input; by force where it does not end by itself."""
        process = self._process
        try:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            end = time.monotonic() + END_S
            # what it still says must not keep it from ending
            while time.monotonic() < end and self._read() != b"":
                pass
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(end - time.monotonic(), 0))
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._log.close()

    def _read(self) -> bytes | None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - it is a pipe
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(_POLL_S):
                return None
        return stream.read(1 << 16) or b""

    def _ended(self) -> DeviceError:
        name = self._device.name
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return DeviceError(f"{name}: the demo closed its output there")
        self._log.seek(0)
        said = self._log.read(1 << 16).decode("utf-8", "replace").strip()
        lost = self._device.ended(code, said)
        if lost is not None:
            return lost
        how = BY_A_SIGNAL if code == 255 else f"with exit code {code}"
        if code in (137, -9):
            how = "as the kernel does when memory runs out"
        last = f": {printable(said.splitlines()[-1])[:200]}" if said else ""
        return DeviceError(f"{name}: the demo ended there, {how}{last}")
