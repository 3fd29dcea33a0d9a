"""Power meters of a device: what is there, and reading it. Standard library alone; smbus2 for chips on I2C."""

import re
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.power import ina2xx, ina3221_hwmon, ina3221_iio, pmic, rapl, tegrastats
from yolo_edge.ondevice.power.meter import Board, MeterError, Options, PowerMeter, Probe

__all__ = ["KINDS", "RECORDED", "open_meter", "parse_meter", "probe_all"]

RECORDED = "csv"  # recorded.KIND: a file that another program writes; the host reads it, with numpy

# in the order of preference: chips that somebody wired in see more than a board's own sensors
KINDS: Dict[str, Callable[[Path, Board, Options], PowerMeter]] = {
    **{kind: partial(ina2xx.Ina2xx, kind) for kind in reversed(ina2xx.KINDS)},
    pmic.KIND: pmic.Pmic,
    ina3221_hwmon.KIND: ina3221_hwmon.Ina3221Hwmon,
    ina3221_iio.KIND: ina3221_iio.Ina3221Iio,
    tegrastats.KIND: tegrastats.Tegrastats,
    rapl.KIND: rapl.Rapl,
}

_SPEC = re.compile(r"[a-z0-9-]+")


def probe_all(root: Union[str, Path] = "/", board: Optional[Mapping[str, Any]] = None) -> List[Probe]:
    """Every kind of meter, and whether it can be read here, the preferred ones first.

    Args:
        root: Of the file system: another than / for a recorded tree.
        board: What is known of the board's sensors: `name`, `total`, `scope`; see `Board`. None: nothing.
    """
    known = Board.from_plain(None if board is None else dict(board))
    return [_probe(kind, Path(root), known) for kind in KINDS]


def open_meter(
    kind: str,
    options: Optional[Mapping[str, str]] = None,
    root: Union[str, Path] = "/",
    board: Optional[Mapping[str, Any]] = None,
) -> PowerMeter:
    """A meter that can be read.

    Args:
        kind: One of `KINDS`.
        options: Its options, see the class.
        root: Of the file system.
        board: As in `probe_all`.

    Raises:
        InputError: There is no such kind or option.
        MeterError: It cannot be read here; the message says why.
    """
    if kind not in KINDS:
        raise InputError(f"--meter {kind}: there is no such meter; there are: {', '.join([*KINDS, RECORDED])}")
    given = Options(kind, dict(options or {}))
    meter = KINDS[kind](Path(root), Board.from_plain(None if board is None else dict(board)), given)
    try:
        meter.interval_s = given.number("interval", meter.interval_s, 0.001, 10)
        given.done()
    except InputError:
        meter.close()
        raise
    return meter


def parse_meter(text: str) -> Tuple[str, Dict[str, str]]:
    """`KIND:key=value,key=value` as its parts; `csv:FILE,key=value` has the file as the option `file`.

    Raises:
        InputError: It is something else.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS and kind != RECORDED:
        raise InputError(
            f"--meter {text}: there is no such meter; there are: {', '.join([*KINDS, RECORDED + ':FILE'])}"
        )
    options: Dict[str, str] = {}
    if kind == RECORDED:
        # a file's name may have commas: options are what looks like them, at the end
        found = re.fullmatch(r"(.+?)((?:,[a-z]+=[^,]*)*)", rest, re.DOTALL)
        if found is None:
            raise InputError(f"--meter {text}: which file? --meter csv:FILE")
        options["file"], rest = found[1], found[2][1:]
    for part in rest.split(",") if rest else ():
        key, equals, value = part.partition("=")
        if not equals or not _SPEC.fullmatch(key) or key in options:
            raise InputError(f"--meter {text}: {part!r}: expected key=value, each key once")
        options[key] = value
    if colon and not options:
        raise InputError(f"--meter {text}: expected KIND:key=value,key=value")
    return kind, options


def _probe(kind: str, root: Path, board: Board) -> Probe:
    try:
        meter = KINDS[kind](root, board, Options(kind, {}))
    except MeterError as error:
        return Probe(kind, False, None, error.reason, error.remedy or None)
    try:
        return Probe(kind, True, meter.scope, meter.what(), None)
    finally:
        meter.close()
