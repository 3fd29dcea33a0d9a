"""What long work has found so far, kept in a file line by line, so that it goes on where it was interrupted."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

import msgspec

from yolo_edge._version import __version__
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import reason

_MAX_BYTES = 1 << 28


class Cache:
    """Name → value, in one file for one piece of work.

    Attributes:
        path: The file.
        found: How many values were there when it was opened.
    """

    def __init__(self, folder: Path, parts: Iterable[bytes]):
        """Open the file of some work.

        Args:
            folder: Where such files are; made when it is not there.
            parts: All that the values depend on.

        Raises:
            InputError: The folder cannot be used.
        """
        key = hashlib.sha256(__version__.encode())
        for part in parts:
            key.update(hashlib.sha256(part).digest())
        self.path = folder / f"{key.hexdigest()[:32]}.jsonl"
        self._lock = Lock()
        self._values: dict[str, bytes] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size <= _MAX_BYTES:
                self._read(self.path.read_bytes())
            self._file = self.path.open("ab")
        except OSError as error:
            problem = f"cannot keep what was found so far ({reason(error)})"
            raise InputError(f"{folder}: {problem}; --cache DIR keeps it elsewhere") from error
        self.found = len(self._values)

    def _read(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            try:
                name, value = msgspec.json.decode(line, type=tuple[str, msgspec.Raw])
            except msgspec.DecodeError:  # the last line of a job that was killed
                continue
            self._values[name] = bytes(value)

    def get(self, name: str, type_: type) -> object | None:
        """A value of a type; None where there is none, or another one."""
        try:
            return msgspec.json.decode(self._values[name], type=type_) if name in self._values else None
        except msgspec.DecodeError:
            return None

    def put(self, name: str, value: object) -> None:
        """Keep a value, on the disk at once."""
        data = msgspec.json.encode(value)
        with self._lock:
            self._values[name] = data
            self._file.write(b"\n" + msgspec.json.encode((name, msgspec.Raw(data))) + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
