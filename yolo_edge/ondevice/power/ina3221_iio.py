"""The Jetsons' INA3221 sensors as NVIDIA's kernel 4.9 shows them (JetPack 4): IIO, milliwatts."""

import re
from pathlib import Path
from typing import List, Tuple

from yolo_edge.ondevice.power.meter import Board, MeterError, Options, root_of
from yolo_edge.ondevice.power.rails import RailFiles
from yolo_edge.ondevice.sysfs import matches, read_number, read_text

KIND = "ina3221-iio"

_DRIVER = "sys/bus/i2c/drivers/ina3221x"
_NOT_CONNECTED = "NC"


class Ina3221Iio(RailFiles):
    """Rails of a Jetson: milliwatts."""

    kind = KIND

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        found = _channels(root)
        if not found:
            raise MeterError("no INA3221 is bound to NVIDIA's driver: this is no Jetson with JetPack 4")
        super().__init__(found, ("mW",), board, options.text("rail", ""))


def _channels(root: Path) -> List[Tuple[str, List[Path]]]:
    """Label, and the file of the power, of each channel; they are counted from 0."""
    found = []
    for path in matches(root / _DRIVER, "*/iio:device*/rail_name_*"):
        number = re.fullmatch(r"rail_name_(\d+)", path.name)
        label = read_text(path)
        if number is None or not label or label == _NOT_CONNECTED:
            continue
        power = path.with_name(f"in_power{number[1]}_input")
        if read_number(power) is not None:
            found.append((label, [power]))
    return found
