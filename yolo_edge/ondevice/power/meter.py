"""What all power meters have in common: how they say that they are there, and what they read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, NoReturn, Optional, Sequence, Tuple

from yolo_edge.ondevice.errors import InputError, YoloEdgeError

# SI units of one: volts, amperes, watts, or joules of a counter
VOLTS = {"V": 1.0, "mV": 1e-3}
AMPERES = {"A": 1.0, "mA": 1e-3, "uA": 1e-6}
WATTS = {"W": 1.0, "mW": 1e-3, "uW": 1e-6}
JOULES = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "Wh": 3600.0, "mWh": 3.6}

SCOPES = ("board_input", "module_input", "soc_rails", "battery", "wall")  # and rail:NAME


class MeterError(YoloEdgeError):
    """A power meter cannot be read; the message says why and what to do."""

    def __init__(self, reason: str, remedy: str = ""):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Board:
    """What is known of a board's own sensors; plain data of the host's profiles.

    Attributes:
        name: Of the board, for messages.
        total: The rails whose sum is what the board, or its module, takes; no rail that another of them feeds.
        scope: Of that sum.
    """

    name: str = ""
    total: Tuple[str, ...] = ()
    scope: str = ""

    @classmethod
    def from_plain(cls, value: Optional[Dict[str, object]]) -> "Board":
        """From a JSON object; None is a board of which nothing is known.

        Raises:
            InputError: Its values are of other types.
        """
        value = value or {}
        name, total, scope = value.get("name", ""), value.get("total", ()), value.get("scope", "")
        if not (isinstance(name, str) and isinstance(scope, str) and isinstance(total, (list, tuple))):
            raise InputError(f"not a description of a board: {str(value)[:200]}")
        return cls(name, tuple(str(rail) for rail in total), scope)


@dataclass(frozen=True)
class Probe:
    """Whether a kind of meter can be read here.

    Attributes:
        kind: Its name, as `--meter` takes it.
        available: Whether it can.
        scope: What it would see; None where it is not available.
        reason: Why it is not available; what it is where it is.
        remedy: What would make it available; None where nothing would, or nothing has to.
    """

    kind: str
    available: bool
    scope: Optional[str]
    reason: Optional[str]
    remedy: Optional[str]


@dataclass(frozen=True)
class Column:
    """One of the raw values of a reading.

    Attributes:
        rail: That it belongs to. A rail has watts, or volts and amperes, or a counter of joules.
        unit: One of `VOLTS`, `AMPERES`, `WATTS`, `JOULES`.
        wrap: Of a counter that begins again: the highest value it takes.
    """

    rail: str
    unit: str
    wrap: Optional[float] = None


class PowerMeter:
    """A meter that was found. Its constructor raises `MeterError` where it cannot be read.

    Attributes:
        kind: Its name.
        scope: What it sees: board_input, module_input, soc_rails, rail:NAME, battery or wall.
        estimated: Whether the hardware computes the figure from a model instead of measuring it.
        columns: Of a reading.
        total: The rails whose sum is what `scope` says.
        interval_s: How often it is read where nobody says otherwise.
        paced: Whether `read` waits until the meter has a new value.
    """

    kind = ""
    estimated = False
    interval_s = 0.05
    paced = False

    def __init__(self, columns: Sequence[Column], total: Sequence[str], scope: str):
        self.columns, self.total, self.scope = tuple(columns), tuple(total), scope

    def read(self) -> List[float]:
        """The raw values, in the order of `columns`.

        Raises:
            MeterError: It cannot be read now.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds."""

    def what(self) -> str:
        """What it is, for a person."""
        return f"{', '.join(self.total)}"


class Options:
    """The options of `--meter KIND:key=value,…`; each may be taken once, and all must be."""

    def __init__(self, kind: str, values: Dict[str, str]):
        self._kind, self._values = kind, dict(values)

    def text(self, key: str, default: str) -> str:
        """A text."""
        return self._values.pop(key, default)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number, decimal or 0x….

        Raises:
            InputError: It is none, or out of bounds.
        """
        text = self._values.pop(key, None)
        try:
            value = default if text is None else int(text, 0)
        except ValueError:
            self._refuse(key, str(text), f"a whole number from {low:#x} to {high:#x}")
        if not low <= value <= high:
            self._refuse(key, str(text), f"a whole number from {low:#x} to {high:#x}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number.

        Raises:
            InputError: It is none, or out of bounds.
        """
        text = self._values.pop(key, None)
        try:
            value = default if text is None else float(text)
        except ValueError:
            self._refuse(key, str(text), f"a number from {low:g} to {high:g}")
        if not low <= value <= high:
            self._refuse(key, str(text), f"a number from {low:g} to {high:g}")
        return value

    def scope(self, default: str) -> str:
        """What an external meter is wired to.

        Raises:
            InputError: There is no such scope.
        """
        text = self.text("scope", default)
        if text not in SCOPES and not (text.startswith("rail:") and len(text) > len("rail:")):
            self._refuse("scope", text, f"one of {', '.join(SCOPES)}, rail:NAME")
        return text

    def done(self) -> None:
        """Check that nothing is left.

        Raises:
            InputError: This kind has no such option.
        """
        for key in self._values:
            raise InputError(f"--meter {self._kind}: there is no option {key!r} (docs/energy.md lists them)")

    def _refuse(self, key: str, text: str, expected: str) -> NoReturn:
        raise InputError(f"--meter {self._kind}: {key}={text}: expected {expected}")


def pick_total(kind: str, rails: Sequence[str], board: Board, rail: str) -> Tuple[Tuple[str, ...], str]:
    """Which rails a meter sums, and the scope of the sum.

    Args:
        kind: Of the meter, for messages.
        rails: That it can read.
        board: Says what adds up to the whole.
        rail: The one that the user asked for; empty: the whole.

    Returns:
        The rails and the scope. Of a board of which nothing is known, the first rail alone.

    Raises:
        InputError: The meter has no such rail.
        MeterError: There are no rails, or one of those that the whole consists of is missing.
    """
    if not rails:
        raise MeterError(f"{kind} shows no rail that can be read")
    if rail:
        if rail not in rails:
            raise InputError(f"--meter {kind}: there is no rail {rail!r}; there are: {', '.join(rails)}")
        return (rail,), f"rail:{rail}"
    if not board.total:
        return (rails[0],), f"rail:{rails[0]}"
    missing = [name for name in board.total if name not in rails]
    if missing:
        raise MeterError(
            f"{kind} shows no {' and no '.join(missing)}, which the total of {board.name or 'this board'} consists of "
            f"(it shows {', '.join(rails)})",
            f"measure one rail with --meter {kind}:rail={rails[0]}",
        )
    return board.total, board.scope


def root_of(options: Options, root: Path) -> Path:
    """Where the meter's files are: `root=DIR` of its options, else `root`."""
    text = options.text("root", "")
    return Path(text) if text else root
