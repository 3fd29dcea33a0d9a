"""The cfg dialect of both darknets (pjreddie's and AlexeyAB's).

Sections in brackets, `key=value` lines, `#` and `;` comments; where a key stands twice, the first counts (as
`option_find` in darknet's src/option_list.c does). Values are read as the keys need them, with darknet's defaults.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_bytes

MAX_BYTES = 1024 * 1024  # the longest of both darknets has 31 kB
MAX_SECTIONS = 1000  # and 376 sections
_MAX_NUMBERS = 10_000

T = TypeVar("T", int, float)

# darknet's short names (string_to_layer_type in src/parser.c)
_ALIASES = {
    "avg": "avgpool",
    "conn": "connected",
    "conv": "convolutional",
    "local_avg": "local_avgpool",
    "lrn": "normalization",
    "max": "maxpool",
    "network": "net",
    "silence": "empty",
    "soft": "softmax",
}


@dataclass
class Section:
    """One section of a cfg.

    Attributes:
        kind: Its name without brackets, short names spelt out.
        line: Where it starts, from 1.
        index: darknet's layer number, from 0; −1 for `[net]`.
        path: Of the cfg, for error messages.
        options: Key → (text, line).
    """

    kind: str
    line: int
    index: int
    path: str
    options: dict[str, tuple[str, int]] = field(default_factory=dict)

    def error(self, problem: str, key: str | None = None) -> InputError:
        """An error that says file, line, section and key."""
        line = self.options[key][1] if key in self.options else self.line
        layer = "" if self.index < 0 else f" (layer {self.index})"
        what = f"{key}: " if key else ""
        return InputError(f"{self.path}:{line}: [{_short(self.kind)}]{layer}: {what}{problem}")

    def text(self, key: str, default: str) -> str:
        """The value of `key`, or `default` where it is missing or empty."""
        return self.options.get(key, ("", 0))[0] or default

    def integer(self, key: str, default: int, low: int = 0, high: int = 1 << 20) -> int:
        """A whole number within low..high.

        Raises:
            InputError: It is none, or outside.
        """
        return self._number(key, default, _parse_int, "a whole number", low, high)

    def number(self, key: str, default: float) -> float:
        """A number; darknet's bare `.7` too.

        Raises:
            InputError: It is none.
        """
        return self._number(key, default, _parse_float, "a number", -math.inf, math.inf)

    def integers(self, key: str) -> list[int]:
        """Whole numbers between commas.

        Raises:
            InputError: One of them is none.
        """
        return self._numbers(key, _parse_int, "whole numbers")

    def numbers(self, key: str) -> list[float]:
        """Numbers between commas.

        Raises:
            InputError: One of them is none.
        """
        return self._numbers(key, _parse_float, "numbers")

    def _number(self, key: str, default: T, parse: Callable[[str], T], kind: str, low: float, high: float) -> T:
        text = self.text(key, "")
        if not text:
            return default
        try:
            value = parse(text)
        except ValueError:
            raise self.error(f"expected {kind}, got {_short(text)!r}", key) from None
        if not low <= value <= high:
            raise self.error(f"expected {low}..{high}, got {_short(text)}", key)
        return value

    def _numbers(self, key: str, parse: Callable[[str], T], kind: str) -> list[T]:
        text = self.text(key, "")
        if text.count(",") >= _MAX_NUMBERS:
            raise self.error(f"more than {_MAX_NUMBERS} numbers", key)
        try:
            return [parse(part) for part in text.split(",") if part.strip()]
        except ValueError:
            raise self.error(f"expected {kind} between commas, got {_short(text)!r}", key) from None


def read_cfg(path: Path) -> list[Section]:
    """Parse a cfg; the first section is `[net]`.

    Raises:
        InputError: It cannot be read, or is no cfg.
    """
    sections: list[Section] = []
    for number, raw in enumerate(decode_cfg(path).split("\n"), start=1):
        line = raw.partition("#")[0].partition(";")[0].strip()
        if line:
            _read_line(line, number, str(path), sections)
    if len(sections) < 2:
        raise InputError(f"{path}: not a darknet cfg (it has no layers)")
    return sections


def decode_cfg(path: Path) -> str:
    """The text of a cfg, its lines ended by newlines.

    Raises:
        InputError: It cannot be read, or is no text.
    """
    data = read_bytes(path, MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # comments in other encodings
    if "\0" in text:
        raise InputError(f"{path}: not a darknet cfg (it is a binary file)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_line(line: str, number: int, path: str, sections: list[Section]) -> None:
    if line.startswith("["):
        if not line.endswith("]"):
            raise InputError(f"{path}:{number}: expected a section in brackets, got {_short(line)!r}")
        kind = line[1:-1].strip()
        section = Section(_ALIASES.get(kind, kind), number, len(sections) - 1, path)
        if (section.kind == "net") != (not sections):
            problem = "the first section is [net]" if not sections else "a second [net]: one network a file, please"
            raise InputError(f"{path}:{number}: {problem}, got {_short(line)!r}")
        sections.append(section)
        if len(sections) > MAX_SECTIONS:
            raise InputError(f"{path}:{number}: more than {MAX_SECTIONS} sections")
        return
    key, equals, value = line.partition("=")
    if not sections or not equals:
        raise InputError(
            f"{path}:{number}: not a darknet cfg (expected "
            f"{'key=value' if sections else '[net]'}, got {_short(line)!r})"
        )
    # the first of duplicate keys counts
    sections[-1].options.setdefault(key.strip(), (value.strip(), number))


def _parse_int(text: str) -> int:
    if len(text) > 40:  # a conversion of many digits takes quadratic time
        raise ValueError(text)
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _short(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text[:41])
    return shown if len(shown) <= 40 else shown[:37] + "..."
