"""The battery as a power meter: what it says, and what its numbers mean.

The kernel's documentation has microamperes that are negative while the battery discharges; phones differ in both, so
both are decided under load.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MILLI_BELOW = 10_000  # under load: 10 mA would be too little, 10 A too much

_CHARGING, _FULL = 2, 5  # android.os.BatteryManager's BATTERY_STATUS_*
_PLUGS = ("AC", "USB", "Wireless", "Dock")


@dataclass(frozen=True)
class Battery:
    """What `dumpsys battery` says.

    Attributes:
        plugged: What feeds the phone: some of AC, USB, Wireless, Dock.
        status: Android's number: 2 charging, 3 discharging, 4 not charging, 5 full; None: it does not tell.
        level: In percent.
        voltage_mv: Millivolts.
        temperature_c: Of the battery.
    """

    plugged: tuple[str, ...] = ()
    status: int | None = None
    level: int | None = None
    voltage_mv: int | None = None
    temperature_c: float | None = None

    @property
    def charging(self) -> str | None:
        """Why a figure of the battery is not the phone's own consumption; None: it feeds the phone alone."""
        if self.plugged:
            return f"{' and '.join(self.plugged)} powered"
        return "charging" if self.status in (_CHARGING, _FULL) else None


@dataclass(frozen=True)
class Decision:
    """What the numbers of `current_now` mean.

    Attributes:
        unit: "uA" or "mA".
        sign: What they are multiplied with to be positive while the phone takes power.
        load: The median of the raw numbers under load …
        idle: … and of the idle phone.
    """

    unit: str
    sign: int
    load: float
    idle: float

    @property
    def text(self) -> str:
        """For a person."""
        way = "negative" if self.sign < 0 else "positive"
        return f"{self.load:.0f} under load, {self.idle:.0f} idle: taken as {self.unit}, {way} while discharging"


def parse_battery(text: str) -> Battery:
    """What `dumpsys battery` prints; what it lacks is None."""

    def number(key: str) -> int | None:
        found = re.search(rf"(?m)^\s*{key}: (-?\d{{1,9}})\s*$", text)
        return int(found[1]) if found else None

    plugged = tuple(plug for plug in _PLUGS if re.search(rf"(?m)^\s*{plug} powered: true\s*$", text))
    tenths = number("temperature")
    temperature = None if tenths is None else tenths / 10
    return Battery(plugged, number("status"), number("level"), number("voltage"), temperature)


def decide(idle: Sequence[float], load: Sequence[float]) -> Decision:
    """What the numbers of a battery's current mean, of one that nothing charges.

    Args:
        idle: Raw numbers of the idle phone.
        load: Of the phone at work.

    Raises:
        ValueError: They do not tell: there are none, or they do not change with the load.
    """
    if len(idle) < 1 or len(load) < 1:
        raise ValueError("the battery's current was not read")
    at_rest, at_work = median(idle), median(load)
    if at_rest * at_work > 0 and abs(at_work) <= abs(at_rest):
        raise ValueError(
            f"the battery's current is {at_rest:.0f} idle and {at_work:.0f} under load, no more: its gauge is "
            "too slow, or something else ran"
        )
    if at_work == 0 or (at_rest * at_work < 0 and abs(at_rest) >= abs(at_work)):
        raise ValueError(
            f"the battery's current is {at_rest:.0f} idle and {at_work:.0f} under load: it charges at times"
        )
    return Decision("mA" if abs(at_work) < MILLI_BELOW else "uA", -1 if at_work < 0 else 1, at_work, at_rest)
