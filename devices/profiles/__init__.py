"""What is known of boards before anything is measured: their sensors, what a total means, limits and remedies.

One TOML file a board, in this folder.
"""

import re
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import msgspec

GENERIC = "generic"


class Rail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A supply line with a sensor.

    Attributes:
        name: As the kernel labels it.
        what: It feeds.
        fed_by: The rail with a sensor that it is behind: both in one sum would count its power twice.
    """

    name: str
    what: str
    fed_by: str | None = None


class Power(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The board's own sensors.

    Attributes:
        sensor: The chip; none: the board has no sensor.
        scope: What the total sees; None: there is no total.
        total: The rails that add up to it; of the Raspberry Pi 5 all that its power chip shows.
        meaning: What is in the total, and what is not.
        rails: Those with sensors.
    """

    sensor: Literal["pmic", "ina3221", "rapl", "none"]
    scope: Literal["module_input", "soc_rails", "rail:package"] | None = None
    total: tuple[str, ...] = ()
    meaning: str
    rails: tuple[Rail, ...] = ()


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that does not work on a board.

    Attributes:
        what: Does not work.
        remedy: What to do instead.
        machine: Only where the system is of this architecture, as `uname -m` names it.
    """

    what: str
    remedy: str
    machine: str | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of board.

    Attributes:
        name: For a person.
        models: Regular expressions; a board is of this kind where one is found in what it calls itself.
        soc: The chip.
        cores: Of the CPU.
        power: Its sensors.
        limits: What does not work.
        key: The file's name; filled in when it is read.
    """

    name: str
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    soc: str | None = None
    cores: str | None = None
    power: Power
    limits: tuple[Limit, ...] = ()
    key: str = ""

    def board(self) -> dict[str, Any]:
        """What `yolo_edge.ondevice.power.probe_all` wants to know of the board."""
        return {"name": self.name, "total": list(self.power.total), "scope": self.power.scope or ""}

    def limits_of(self, machine: str | None) -> tuple[Limit, ...]:
        """Those that hold with a system of this architecture (`uname -m`)."""
        return tuple(limit for limit in self.limits if limit.machine in (None, machine))


@cache
def profiles() -> tuple[Profile, ...]:
    """All of them, by key; the generic one last."""
    folder = resources.files(__name__)
    found = [
        msgspec.structs.replace(
            msgspec.toml.decode(file.read_bytes(), type=Profile), key=file.name.removesuffix(".toml")
        )
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    ]
    return tuple(sorted(found, key=lambda profile: (profile.key == GENERIC, profile.key)))


def match(model: str | None) -> Profile:
    """The profile of a board.

    Args:
        model: What the board calls itself: /sys/firmware/devicetree/base/model, or a PC's product name. None: it does
            not tell.

    Returns:
        The first that fits; the generic one, which has no sensors of its own but RAPL's, where none does.
    """
    text = (model or "").rstrip("\0")
    return next(
        profile
        for profile in profiles()
        if profile.key == GENERIC or any(re.search(pattern, text, re.IGNORECASE) for pattern in profile.models)
    )
