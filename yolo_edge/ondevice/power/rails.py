"""Rails that the kernel shows as files."""

from collections import Counter
from pathlib import Path
from typing import List, Sequence, Tuple

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, PowerMeter, pick_total


class RailFiles(PowerMeter):
    """Rails with a file for each of their values; which of them add up to the whole is the board's to say."""

    def __init__(self, found: Sequence[Tuple[str, Sequence[Path]]], units: Sequence[str], board: Board, rail: str):
        """A meter of what was found.

        Args:
            found: Label and files of each rail.
            units: Of the files, in their order.
            board: See `pick_total`.
            rail: See `pick_total`.

        Raises:
            InputError: There is no such rail.
            MeterError: One of those that the whole consists of is missing.
        """
        self._files = [path for _, files in found for path in files]
        names = _unique([(label, files[0].parent.name) for label, files in found])
        total, scope = pick_total(self.kind, names, board, rail)
        super().__init__([Column(name, unit) for name in names for unit in units], total, scope)

    def read(self) -> List[float]:
        """What the files hold."""
        return [read_file(path) for path in self._files]


def read_file(path: Path) -> float:
    """The whole number in a file of /sys.

    Raises:
        MeterError: There is none; its cause is an OSError where the file cannot be read.
    """
    try:
        return float(int(path.read_bytes()))
    except OSError as error:
        raise MeterError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise MeterError(f"{path}: holds no number") from error


def _unique(named: Sequence[Tuple[str, str]]) -> List[str]:
    """Names of rails; where two chips use the same one, with the chip's name."""
    counts = Counter(name for name, _ in named)
    return [name if counts[name] == 1 else f"{name}@{chip}" for name, chip in named]
