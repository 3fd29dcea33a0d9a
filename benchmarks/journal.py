"""What a run has measured so far, so that a killed one goes on where it was.

A journal is a file of JSON lines beside the results: a header that says which run it is, then a line for each repeat
that was finished. It is held under a lock while its run lives, and removed when the result is written.
"""

import fcntl
import os
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

import msgspec

from yolo_edge.benchmarks.host import Conditions
from yolo_edge.benchmarks.power import PowerRepeat, Window
from yolo_edge.ondevice.files import not_written

T = TypeVar("T")

SUFFIX = ".part.jsonl"
_VERSION = 5


class CellRepeat(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker process measured.

    Attributes:
        runtime: Its name.
        runtime_version: See `Cell`.
        precise: See `Cell`.
        start_ms: See `Cell`.
        load_ms: See `Cell`.
        first_ms: See `Cell`.
        base_mb: See `Cell.base_memory_mb`.
        cpus: See `Cell`.
        detections: See `Cell`.
        warm_up_s: Seconds of warm-up.
        settled: Whether it ended by itself.
        peak_mb: Peak memory; None: not shown.
        cpu_s: CPU time of its turns.
        turns: Inferences of each turn.
        at_s: When each began, in seconds since the run did.
        windows: When the inferences of each began and ended, on the clock of the power readings; empty without.
        clock_mhz: Mean clock at the end of each turn; empty where there is none.
        stages: Stage → samples, encoded.
        cpu: CPU time of each inference in percent of its time, encoded; None: not shown.
        agreement: See `Cell`.
        snr_db: See `Cell`.
        notes: What else to know of it.
    """

    runtime: str
    runtime_version: str
    precise: bool | None
    start_ms: float
    load_ms: float
    first_ms: float
    base_mb: float | None
    cpus: tuple[int, ...] | None
    detections: int | None
    warm_up_s: float
    settled: bool
    peak_mb: float | None
    cpu_s: float
    turns: tuple[int, ...]
    at_s: tuple[float, ...]
    windows: tuple[Window, ...]
    clock_mhz: tuple[float, ...]
    stages: dict[str, str]
    cpu: str | None
    agreement: float | None = None
    snr_db: float | None = None
    notes: tuple[str, ...] = ()


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """One repeat of all cells, in their order.

    Attributes:
        number: From 1.
        seconds: That it took.
        before: Conditions before the run; of the first repeat only.
        begins: Conditions at its begin.
        ends: Conditions at its end.
        cells: One entry a cell.
        power: What a meter read meanwhile; None: none was to be read.
    """

    number: int
    seconds: float
    before: Conditions | None
    begins: Conditions
    ends: Conditions
    cells: tuple[CellRepeat, ...]
    power: PowerRepeat | None


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    journal: int
    key: str
    created: str


class Journal:
    """The journal of one run. A context manager: leaving it gives the lock back.

    Attributes:
        path: Of the result that it becomes.
        created: When the run began: ISO 8601, UTC.
        repeats: Those that are measured.
    """

    def __init__(self, folder: Path, key: str, *, restart: bool = False):
        """Take up the journal of an unfinished run with the same key, or begin one.

        Args:
            folder: Of the results; made if missing.
            key: Of the run: the same settings, models and machine have the same.
            restart: Forget what such a run measured.

        Raises:
            InputError: Files cannot be written there.
            YoloEdgeError: The disk is full.
        """
        self.repeats: list[Repeat] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            waiting = sorted(folder.glob(f"*{SUFFIX}"), reverse=True)
            opened = next(filter(None, (self._take_up(path, key) for path in waiting)), None)
            if opened and restart:
                self._forget(opened)
                opened = None
            self._file, self._journal = opened or self._begin(folder, key)
        except OSError as error:
            raise not_written(folder, error) from error
        self.path = self._journal.with_name(self._journal.name.removesuffix(SUFFIX) + ".json")

    def add(self, repeat: Repeat) -> None:
        """Keep a finished repeat, on the disk when this returns.

        Raises:
            YoloEdgeError: The disk is full; what was there is whole.
        """
        end = self._file.seek(0, os.SEEK_END)
        try:
            _write(self._file, msgspec.json.encode(repeat) + b"\n")
            self.repeats.append(repeat)  # before the wait for the disk: an interruption there loses nothing
            os.fsync(self._file.fileno())
        except OSError as error:
            self.repeats = [kept for kept in self.repeats if kept is not repeat]
            with suppress(OSError):
                self._file.truncate(end)
            raise not_written(self._journal, error) from error

    def remove(self) -> None:
        """Forget it: the result is written."""
        self._journal.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.repeats and self._journal.exists():  # nothing to go on from
            self._journal.unlink()
        self._file.close()

    def _take_up(self, path: Path, key: str) -> tuple[IO[bytes], Path] | None:
        try:
            file = path.open("r+b", buffering=0)
        except OSError:
            return None
        if not _lock(file):  # its run lives
            file.close()
            return None
        lines = file.read().split(b"\n")
        header = _parse(lines[0], _Header)
        if header is None or header.journal != _VERSION or header.key != key:
            file.close()
            return None
        self.created = header.created
        whole = len(lines[0]) + 1
        for line in lines[1:-1]:  # a line that its run was killed in has no end, or is no repeat
            repeat = _parse(line, Repeat)
            if repeat is None or repeat.number != len(self.repeats) + 1:
                break
            self.repeats.append(repeat)
            whole += len(line) + 1
        file.truncate(whole)
        return file, path

    def _forget(self, opened: tuple[IO[bytes], Path]) -> None:
        self.repeats.clear()
        opened[1].unlink()
        opened[0].close()

    def _begin(self, folder: Path, key: str) -> tuple[IO[bytes], Path]:
        now = datetime.now(timezone.utc)
        self.created = now.isoformat(timespec="seconds")
        stem, number = f"benchmark-{now:%Y%m%d-%H%M%S}", 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            path = folder / f"{name}{SUFFIX}"
            number += 1
            if (folder / f"{name}.json").exists():
                continue
            try:
                file = path.open("x+b", buffering=0)
            except FileExistsError:
                continue
            _lock(file)
            try:
                _write(file, msgspec.json.encode(_Header(journal=_VERSION, key=key, created=self.created)) + b"\n")
            except OSError:
                file.close()
                path.unlink()
                raise
            return file, path


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _parse(line: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None


def _write(file: IO[bytes], data: bytes) -> None:
    left = memoryview(data)
    while left:  # a disk that is nearly full takes a part without a word
        left = left[file.write(left) :]
