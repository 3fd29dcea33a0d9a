"""Texas Instruments' INA219, INA226 and INA260 on I2C, wired into the supply by the user; read with smbus2.

They are read as they are set up, and never written to: other programs may use them, too. Registers and steps are those
of the data sheets (INA219: SBOS448, INA226: SBOS547, INA260: SBOS656).
"""

import importlib
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, Options, PowerMeter, root_of

KINDS = ("ina219", "ina226", "ina260")

_CONFIGURATION, _CURRENT, _VOLTAGE, _MAKER, _DIE = 0x00, 0x01, 0x02, 0xFE, 0xFF
_TEXAS_INSTRUMENTS = 0x5449
_ADDRESSES = range(0x40, 0x50)


class _Chip(NamedTuple):
    power_on: int  # the configuration register's value at power-on
    die: Optional[int]  # the die register's upper twelve bits; None: it has none
    shunt_volts: Optional[float]  # of one step of register 1; None: the register has amperes
    amperes: Optional[float]
    bus_volts: float  # of one step of register 2
    bus_shift: int
    full_scale: int  # steps of register 1 at its end


_CHIPS: Dict[str, _Chip] = {
    "ina219": _Chip(0x399F, None, 10e-6, None, 4e-3, 3, 32000),
    "ina226": _Chip(0x4127, 0x226, 2.5e-6, None, 1.25e-3, 0, 0x7FFF),
    "ina260": _Chip(0x6127, 0x227, None, 1.25e-3, 1.25e-3, 0, 0x7FFF),
}


class Ina2xx(PowerMeter):
    """What flows through the chip's shunt, at the voltage behind it.

    Options: `bus` (1), `address` (0x40 to 0x4f; found where it is left out and the chip is as at power-on), `shunt` in
    ohms (0.1; not of the INA260, whose shunt is inside), `scope` (board_input).
    """

    interval_s = 0.02

    def __init__(self, kind: str, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        self.kind, self._chip = kind, _CHIPS[kind]
        number = options.integer("bus", 1, 0, 255)
        wanted = options.integer("address", 0, 0, 0x7F)
        self._shunt = 1.0 if self._chip.shunt_volts is None else options.number("shunt", 0.1, 1e-5, 100)
        scope = options.scope("board_input")
        self._bus = _open_bus(root / f"dev/i2c-{number}", number)
        try:
            self._address = wanted or self._find(number)
            self.read()
        except BaseException:
            self.close()
            raise
        name = "supply"
        super().__init__([Column(name, "V"), Column(name, "A")], [name], scope)

    def read(self) -> List[float]:
        """Volts and amperes."""
        raw = self._register(self._address, _CURRENT)
        steps = raw - 0x10000 if raw & 0x8000 else raw
        if abs(steps) >= self._chip.full_scale:
            raise MeterError(
                f"{self.kind}: the current is beyond its range", "use a smaller shunt, and say so with shunt=OHMS"
            )
        volts = (self._register(self._address, _VOLTAGE) >> self._chip.bus_shift) * self._chip.bus_volts
        if self._chip.shunt_volts is not None:
            return [volts, steps * self._chip.shunt_volts / self._shunt]
        assert self._chip.amperes is not None  # noqa: S101 - one of the two is given
        return [volts, steps * self._chip.amperes]

    def close(self) -> None:
        """Give the bus back."""
        self._bus.close()

    def what(self) -> str:
        """What it is, for a person."""
        shunt = "" if self._chip.shunt_volts is None else f", shunt {self._shunt:g} ohm"
        return f"{self.kind.upper()} at {self._address:#x}{shunt}"

    def _find(self, bus: int) -> int:
        """The address of the one chip of this kind that is as at power-on: another device may answer there, too."""
        found = [address for address in _ADDRESSES if self._is_here(address)]
        if not found:
            raise MeterError(
                f"no {self.kind.upper()} answers on I2C bus {bus} at {_ADDRESSES[0]:#x} to {_ADDRESSES[-1]:#x}",
                f"wire one into the supply (docs/energy.md), or say where it is: --meter {self.kind}:address=0x40",
            )
        if len(found) > 1:
            raise MeterError(
                f"more than one {self.kind.upper()} answers: {', '.join(map(hex, found))}",
                f"say which: --meter {self.kind}:address={found[0]:#x}",
            )
        return found[0]

    def _is_here(self, address: int) -> bool:
        try:
            # first what every chip of this family answers and others do not: no command of theirs is sent by chance
            if self._register(address, _CONFIGURATION) != self._chip.power_on:
                return False
            if self._chip.die is None:
                return True
            maker, die = self._register(address, _MAKER), self._register(address, _DIE)
            return maker == _TEXAS_INSTRUMENTS and die >> 4 == self._chip.die
        except MeterError:
            return False

    def _register(self, address: int, register: int) -> int:
        try:
            word = int(self._bus.read_word_data(address, register))
        except OSError as error:
            raise MeterError(f"{self.kind} at {address:#x} does not answer ({error.strerror or error})") from error
        return (word & 0xFF) << 8 | word >> 8  # SMBus has the low byte first, these chips the high one


def _open_bus(device: Path, number: int) -> Any:
    if not device.exists():
        raise MeterError(
            f"there is no I2C bus {number} ({device})",
            "on a Raspberry Pi: sudo raspi-config nonint do_i2c 0",
        )
    try:
        smbus2: Any = importlib.import_module("smbus2")
    except ImportError as error:
        raise MeterError("the Python package smbus2 is missing", "pip install smbus2") from error
    try:
        return smbus2.SMBus(str(device))
    except PermissionError as error:
        raise MeterError(f"{device} may not be opened", "sudo usermod -aG i2c $USER, and log in again") from error
    except OSError as error:
        raise MeterError(f"{device} cannot be opened ({error.strerror})") from error
