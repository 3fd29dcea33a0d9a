"""Power chips on an I2C bus: the examples of their data sheets."""

import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest

from tests.ondevice.power import trees
from tests.ondevice.power.support import probe, values
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.power import open_meter
from yolo_edge.ondevice.power.meter import MeterError


class Bus:
    """An I2C bus as smbus2 has it: addresses → registers; the low byte of a word comes first."""

    registers: ClassVar[dict[int, dict[int, int]]] = {}
    opened: ClassVar[list[str]] = []
    read: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, bus: str):
        self.opened.append(bus)

    def read_word_data(self, address: int, register: int) -> int:
        self.read.append((address, register))
        try:
            word = self.registers[address][register]
        except KeyError as error:
            raise OSError(121, "Remote I/O error") from error
        return (word & 0xFF) << 8 | word >> 8

    def close(self) -> None:
        self.opened.pop()


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine with an I2C bus 1."""
    module = types.ModuleType("smbus2")
    module.SMBus = Bus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "smbus2", module)
    monkeypatch.setattr(Bus, "registers", {})
    monkeypatch.setattr(Bus, "opened", [])
    monkeypatch.setattr(Bus, "read", [])
    return trees.write(tmp_path, {"dev/i2c-1": "", "dev/i2c-7": ""})


# the examples of the data sheets where they have one: registers, options → volts, amperes
CHIPS = [
    # 12 V: 0x5D98 >> 3 = 2995 steps of 4 mV; 20 mV over 0.1 ohm
    ("ina219", {0: 0x399F, 1: 2000, 2: 0x5D98}, {}, 11.98, 0.2),
    # the other direction: -100 mV over 0.01 ohm
    ("ina219", {0: 0x399F, 1: 0x10000 - 10000, 2: 0x1F40 << 1}, {"shunt": "0.01"}, 8.0, -10.0),
    # SBOS547, 6.5.1: 11.98 V is 0x2570, 20 mV is 0x1F40; shunt 2 milliohm, 10 A
    ("ina226", {0: 0x4127, 1: 0x1F40, 2: 0x2570, 0xFE: 0x5449, 0xFF: 0x2260}, {"shunt": "0.002"}, 11.98, 10.0),
    # steps of 1.25 mA and 1.25 mV
    ("ina260", {0: 0x6127, 1: 0x2710, 2: 0x2570, 0xFE: 0x5449, 0xFF: 0x2270}, {}, 11.98, 12.5),
    ("ina260", {0: 0x6127, 1: 0xFFFF, 2: 0x0FA0, 0xFE: 0x5449, 0xFF: 0x2270}, {}, 5.0, -0.00125),
]


@pytest.mark.parametrize(("kind", "registers", "options", "volts", "amperes"), CHIPS)
def test_chips_on_i2c(
    bus: Path, kind: str, registers: dict[int, int], options: dict[str, str], volts: float, amperes: float
) -> None:
    Bus.registers[0x45] = registers
    row = probe(bus, kind)
    assert (row.available, row.scope) == (True, "board_input")
    assert "0x45" in str(row.reason)
    for other in ("ina219", "ina226", "ina260"):
        assert probe(bus, other).available is (other == kind)
    read = values(bus, kind, **options)
    assert read["supply V"] == pytest.approx(volts)
    assert read["supply A"] == pytest.approx(amperes)
    assert Bus.opened == []
    with pytest.raises(InputError, match="scope=plug"):
        open_meter(kind, {"scope": "plug"}, bus)
    assert open_meter(kind, {"scope": "battery", "address": "0x45"}, bus).scope == "battery"


def test_looking_for_chips_sends_nothing_to_others(bus: Path) -> None:
    """A humidity sensor at 0x40 would take register 0xFE for a reset."""
    Bus.registers[0x40] = {2: 1}
    Bus.registers[0x41] = {0: 0x1234, 0xFE: 0}
    for kind in ("ina219", "ina226", "ina260"):
        assert probe(bus, kind).available is False
    assert {register for _, register in Bus.read} == {0}


def test_chips_that_cannot_be_used(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "wire one" in str(probe(bus, "ina226").remedy)
    chip = {0: 0x4127, 1: 1, 2: 2, 0xFE: 0x5449, 0xFF: 0x2260}
    Bus.registers.update({0x40: chip, 0x44: dict(chip)})
    row = probe(bus, "ina226")
    assert "0x40, 0x44" in str(row.reason)
    assert "address=0x40" in str(row.remedy)
    assert values(bus, "ina226", address="0x44", bus="7")["supply V"] == 2 * 1.25e-3
    chip[1] = 0x7FFF
    with pytest.raises(MeterError, match="beyond its range"):
        open_meter("ina226", {"address": "0x40"}, bus)
    for options, message in (
        ({"address": "0x80"}, "address=0x80: expected"),
        ({"address": "x"}, "address=x: expected a whole number from 0x0 to 0x7f"),
        ({"shunt": "0"}, "shunt=0: expected a number"),
        ({"shunt": "nan"}, "shunt=nan: expected a number"),
        ({"shunt": "x"}, "shunt=x: expected a number"),
        ({"address": "0x44", "shunts": "1"}, "there is no option 'shunts'"),
        ({"address": "0x44", "interval": "0"}, "interval=0: expected"),
    ):
        with pytest.raises(InputError, match=message):
            open_meter("ina226", options, bus)
    Bus.registers[0x46] = {0: 0x6127, 1: 1, 2: 2}
    with pytest.raises(InputError, match="there is no option 'shunt'"):
        open_meter("ina260", {"address": "0x46", "shunt": "0.1"}, bus)
    with pytest.raises(MeterError, match="does not answer"):
        open_meter("ina226", {"address": "0x4a"}, bus)
    with pytest.raises(MeterError, match="no I2C bus 3"):
        open_meter("ina226", {"bus": "3"}, bus)
    assert Bus.opened == []

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sys.modules["smbus2"], "SMBus", refuse)
    assert "usermod -aG i2c" in str(probe(bus, "ina219").remedy)
    monkeypatch.setitem(sys.modules, "smbus2", None)
    assert probe(bus, "ina219").remedy == "pip install smbus2"
