"""The Jetsons' INA3221 sensors as Linux 5 shows them (JetPack 5 and newer): hwmon, millivolts and milliamperes."""

import re
from pathlib import Path
from typing import List, Tuple

from yolo_edge.ondevice.power.meter import Board, MeterError, Options, root_of
from yolo_edge.ondevice.power.rails import RailFiles
from yolo_edge.ondevice.sysfs import matches, read_number, read_text

KIND = "ina3221-hwmon"

_DRIVER = "sys/bus/i2c/drivers/ina3221"
_CHANNELS = (1, 2, 3)  # in4 to in6 are shunt voltages, in7 is their sum
_NOT_CONNECTED = "NC"


class Ina3221Hwmon(RailFiles):
    """Rails of a Jetson: millivolts and milliamperes."""

    kind = KIND

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        found = _channels(root)
        if not found:
            raise MeterError(*_missing(root))
        super().__init__(found, ("mV", "mA"), board, options.text("rail", ""))


def _channels(root: Path) -> List[Tuple[str, Tuple[Path, Path]]]:
    """Label, and the files of volts and amperes, of each channel that has both."""
    found = []
    for folder in matches(root / _DRIVER, "*/hwmon/hwmon*"):
        for number in _CHANNELS:
            label = read_text(folder / f"in{number}_label")
            pair = folder / f"in{number}_input", folder / f"curr{number}_input"
            if label and label != _NOT_CONNECTED and all(read_number(path) is not None for path in pair):
                found.append((label, pair))
    return found


def _missing(root: Path) -> Tuple[str, str]:
    chips = [path for path in matches(root / _DRIVER, "*") if re.fullmatch(r"\d+-[0-9a-f]{4}", path.name)]
    if chips:
        return "the INA3221 has no channel that can be read", "look at the files under /sys/bus/i2c/drivers/ina3221"
    return "no INA3221 is bound to Linux' driver: this is no Jetson with JetPack 5 or newer", ""
