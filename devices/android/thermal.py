"""`dumpsys thermalservice`."""

import math
import re
from dataclasses import dataclass

# android.os.PowerManager's THERMAL_STATUS_*
STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_CURRENT = "Current temperatures from HAL:"
_TEMPERATURE = re.compile(r"\s*Temperature\{mValue=([^,}]+), mType=\d+, mName=([^,}]{1,64}), mStatus=\d+")


@dataclass(frozen=True)
class Thermal:
    """How hot a phone is.

    Attributes:
        status: 0 (none) to 6 (shutdown); None: it does not tell.
        temperatures_c: By sensor, as they are now; the cached ones, which may be long past, are not looked at.
    """

    status: int | None
    temperatures_c: dict[str, float]


def parse_thermal(text: str) -> Thermal:
    """What `dumpsys thermalservice` prints; what it lacks is None or empty."""
    found = re.search(r"(?m)^\s*Thermal Status: ([0-6])\s*$", text)
    temperatures: dict[str, float] = {}
    for line in text.partition(_CURRENT)[2].splitlines()[1:]:
        match = _TEMPERATURE.match(line)
        if match is None:  # the next block
            break
        try:
            value = float(match[1])
        except ValueError:
            continue
        if math.isfinite(value) and -100 < value < 200:
            temperatures[match[2]] = value
    return Thermal(int(found[1]) if found else None, temperatures)
