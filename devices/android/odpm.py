"""On-device power monitors of Pixel phones (6 and later): counters of energy, a line a rail.

    t=349894
    CH0(T=349894)[S10M_VDD_TPU], 5578756

Milliseconds since the boot, and microwatt-seconds, which are microjoules.
"""

import re
from collections.abc import Sequence

_RAIL = re.compile(r"CH\d+(?:\(T=\d+\))?\[([A-Za-z0-9_.-]{1,64})\], (\d{1,20})")
# S: a step-down converter of the main (M) or the sub (S) power chip. L: a linear regulator, which such a one feeds:
# in one sum it would count twice. VSYS_…: other parts of the phone, such as modem, Wi-Fi, display
_CONVERTER = re.compile(r"S\d+[MS]_")


def parse_energy(text: str) -> dict[str, int]:
    """Rails with their counters in microjoules, of one file or several in a row; empty where there are none."""
    return {name: int(number) for name, number in _RAIL.findall(text)}


def total_of(rails: Sequence[str]) -> tuple[str, ...]:
    """The rails whose sum is what the chip and its memory take."""
    return tuple(rail for rail in rails if _CONVERTER.match(rail))
