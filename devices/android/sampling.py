"""Reading a phone's power while it works: a small loop in its shell, on its own clock, seconds since it was started."""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from yolo_edge.devices.android.facts import ASK_CURRENT, CURRENT, VOLTAGE
from yolo_edge.devices.android.odpm import parse_energy
from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.ondevice.files import printable

INTERVAL_S = 0.1

_MAX_BYTES = 64 << 20
_LONGEST = 1 << 16  # bytes of its complaints
# the wait is a read with a time limit: it forks nothing, and ends the loop when the host goes away
_LOOP = 'i=$0; while :; do read t x </proc/uptime; {read}; read -t "$i" x; [ $? -eq 1 ] && exit 0; done'
_READS = {
    "odpm": 'echo "@$t"; cat "$@"',
    "battery": 'read c <"$1"; read v <"$2"; echo "@$t"; echo "$c $v"',
    "service": 'echo "@$t"; "$@"',
}
_RECORD = re.compile(rb"@(\d+(?:\.\d+)?)\n([^@]*)")


@dataclass(frozen=True)
class Readings:
    """What was read.

    Attributes:
        times: Seconds since the phone was started, float64 [n], rising.
        values: A row a reading, in the order of the columns; NaN: not read.
        failures: Readings that were none.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    failures: int


@dataclass
class Sampler:
    """Reads one source of power. A context manager: leaving it ends the loop on the phone.

    Attributes:
        device: Connected.
        kind: odpm, battery (the kernel's files) or service (Android's).
        files: Of odpm.
        pin: What keeps it off the cores that work: a command to put before.
    """

    device: Device
    kind: str
    files: Sequence[str] = ()
    pin: Sequence[str] = ()
    _process: "subprocess.Popen[bytes] | None" = None
    _data: bytearray = field(default_factory=bytearray)
    _said: str = ""

    def __enter__(self) -> "Sampler":
        arguments = {"odpm": list(self.files), "battery": [CURRENT, VOLTAGE], "service": list(ASK_CURRENT)}[self.kind]
        script = _LOOP.format(read=_READS[self.kind])
        self._log = tempfile.TemporaryFile()
        command = ["nice", "-n", "10", *self.pin, "sh", "-c", script, str(INTERVAL_S), *arguments]
        self._process = self.device.stream(command, errors=self._log)
        self._thread = threading.Thread(target=self._collect, name="power", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None  # noqa: S101 - entered
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.seek(0)
        lines = self._log.read(_LONGEST).decode("utf-8", "replace").strip().splitlines()
        self._said = printable(lines[0])[:200] if lines else "nothing came"
        self._log.close()

    def readings(self, columns: Sequence[str]) -> Readings:
        """What was read so far.

        Args:
            columns: Rails of odpm; of the others "current", "voltage".

        Raises:
            DeviceError: Nothing was.
        """
        times: list[float] = []
        rows: list[list[float]] = []
        failures = 0
        for stamp, block in _RECORD.findall(bytes(self._data)):
            row = self._row(block.decode("utf-8", "replace"), columns)
            if row is None or (times and float(stamp) <= times[-1]):
                failures += 1
                continue
            times.append(float(stamp))
            rows.append(row)
        if not times:
            raise DeviceError(f"{self.device.name}: its {self.kind} power meter cannot be read: {self._said}")
        return Readings(np.array(times), np.array(rows, np.float64).reshape(len(rows), -1), failures)

    def _row(self, block: str, columns: Sequence[str]) -> list[float] | None:
        if self.kind == "odpm":
            found = parse_energy(block)
            return [float(found[rail]) for rail in columns] if set(columns) <= set(found) else None
        numbers = block.split()
        wanted = 2 if self.kind == "battery" else 1
        if len(numbers) != wanted or not all(re.fullmatch(r"-?\d{1,12}", number) for number in numbers):
            return None
        return [float(number) for number in numbers]

    def _collect(self) -> None:
        assert self._process is not None  # noqa: S101 - entered
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            while len(self._data) < _MAX_BYTES and (part := os.read(self._process.stdout.fileno(), 1 << 16)):
                self._data += part
        except (OSError, ValueError):  # closed
            return
