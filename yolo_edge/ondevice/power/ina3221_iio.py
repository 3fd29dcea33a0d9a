"""The Jetsons' INA3221 sensors as NVIDIA's kernel 4.9 shows them (JetPack 4): IIO, milliwatts."""

import re
from pathlib import Path
from typing import List, Tuple

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, Options, PowerMeter, pick_total, root_of
from yolo_edge.ondevice.power.rails import read_file, unique_rails
from yolo_edge.ondevice.sysfs import matches, read_number, read_text

KIND = "ina3221-iio"

_DRIVER = "sys/bus/i2c/drivers/ina3221x"
_NOT_CONNECTED = "NC"


class Ina3221Iio(PowerMeter):
    """Rails of a Jetson; which of them add up to the whole is the board's to say."""

    kind = KIND

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        rail = options.text("rail", "")
        found = _channels(root)
        if not found:
            raise MeterError("no INA3221 is bound to NVIDIA's driver: this is no Jetson with JetPack 4")
        self._files = [path for _, path in found]
        names = unique_rails([(name, path.parent.name) for name, path in found])
        total, scope = pick_total(KIND, names, board, rail)
        super().__init__([Column(name, "mW") for name in names], total, scope)

    def read(self) -> List[float]:
        """Milliwatts of each rail."""
        return [read_file(path) for path in self._files]


def _channels(root: Path) -> List[Tuple[str, Path]]:
    """Label, and the file of the power, of each channel; they are counted from 0."""
    found = []
    for path in matches(root / _DRIVER, "*/iio:device*/rail_name_*"):
        number = re.fullmatch(r"rail_name_(\d+)", path.name)
        label = read_text(path)
        if number is None or not label or label == _NOT_CONNECTED:
            continue
        power = path.with_name(f"in_power{number[1]}_input")
        if read_number(power) is not None:
            found.append((label, power))
    return found
