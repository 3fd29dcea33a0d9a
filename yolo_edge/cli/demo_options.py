"""Options of `yolo-edge demo`: what they may be, and what a signal means to it."""

import math
import shlex
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from yolo_edge.cli.options import split
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable

if TYPE_CHECKING:
    from yolo_edge.cli.output import AnyDetector


def check_limits(limits: Mapping[str, tuple[float | None, float, float]]) -> None:
    """Check numbers: option → what was given, the least and the most that it may be.

    Raises:
        InputError: One is out of its range.
    """
    for option, (value, low, high) in limits.items():
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"{option} {value:g}: expected {low:g}..{high:g}")


def model_names(models: Sequence[Path]) -> list[str]:
    """File names; paths where those are not enough."""
    names = [model.name for model in models]
    return [printable(str(m) if names.count(m.name) > 1 else m.name) for m in models]


def classes_of(
    detectors: "Sequence[AnyDetector]", text: str | None, pins: Iterable[str]
) -> list[frozenset[int] | None]:
    """The ids of what counts, for each detector; None: all.

    Args:
        detectors: That will run.
        text: The option `--classes`.
        pins: The classes of `--gpio`.

    Raises:
        InputError: No detector has such a class.
    """
    known = [detector.spec.names for detector in detectors]
    wanted = None if text is None else split(text, "classes")
    _check_classes(wanted or (), known, "--classes")
    _check_classes(pins, known, "--gpio")
    if wanted is None:
        return [None] * len(known)
    return [frozenset(i for i, name in enumerate(names) if name in wanted) for names in known]


def _check_classes(wanted: Iterable[str], known: Sequence[Sequence[str]], option: str) -> None:
    there = list(dict.fromkeys(name for names in known for name in names))
    for name in wanted:
        if name not in there:
            some = ", ".join(there[:8])
            raise InputError(f"{option}: no class {name!r}; there are {some}{' …' if len(there) > 8 else ''}")


def read_pins(texts: Sequence[str]) -> dict[str, int]:
    """The values of `--gpio` → class name → pin.

    Raises:
        InputError: One is none, or a class or a pin is there twice.
    """
    pins: dict[str, int] = {}
    for text in texts:
        name, _, pin = text.rpartition("=")
        if not name or not (pin.isascii() and pin.isdigit() and len(pin) <= 3):
            raise InputError(f"--gpio {text!r}: expected CLASS=PIN, such as qr_code=17 (Broadcom's numbers)")
        if name in pins or int(pin) in pins.values():
            raise InputError(f"--gpio {text!r}: a class has one lamp, and a pin one class")
        pins[name] = int(pin)
    return pins


def read_command(text: str) -> list[str]:
    """The value of `--exec` → a program and its arguments.

    Raises:
        InputError: A quote has no end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"--exec {text!r}: {error}") from error


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and SIGHUP are how a demo ends: an event instead of an exception; the second one kills."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Any] = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
