"""The Jetsons' INA3221 sensors as Linux 5 shows them (JetPack 5 and newer): hwmon, millivolts and milliamperes."""

import re
from pathlib import Path
from typing import List, Tuple

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, Options, PowerMeter, pick_total, root_of
from yolo_edge.ondevice.power.rails import read_file, unique_rails
from yolo_edge.ondevice.sysfs import matches, read_number, read_text

KIND = "ina3221-hwmon"

_DRIVER = "sys/bus/i2c/drivers/ina3221"
_CHANNELS = (1, 2, 3)  # in4 to in6 are shunt voltages, in7 is their sum
_NOT_CONNECTED = "NC"


class Ina3221Hwmon(PowerMeter):
    """Rails of a Jetson; which of them add up to the whole is the board's to say."""

    kind = KIND

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        rail = options.text("rail", "")
        found = _channels(root)
        if not found:
            raise MeterError(*_missing(root))
        self._files = [path for _, pair in found for path in pair]
        names = unique_rails([(name, pair[0].parent.name) for name, pair in found])
        total, scope = pick_total(KIND, names, board, rail)
        super().__init__([Column(name, unit) for name in names for unit in ("mV", "mA")], total, scope)

    def read(self) -> List[float]:
        """Millivolts and milliamperes of each rail."""
        return [read_file(path) for path in self._files]


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
