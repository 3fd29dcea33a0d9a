"""Rails that the kernel shows as files."""

from collections import Counter
from pathlib import Path
from typing import List, Sequence, Tuple

from yolo_edge.ondevice.power.meter import MeterError


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


def unique_rails(named: Sequence[Tuple[str, str]]) -> List[str]:
    """Names of rails; where two chips use the same one, with the chip's name."""
    counts = Counter(name for name, _ in named)
    return [name if counts[name] == 1 else f"{name}@{chip}" for name, chip in named]
