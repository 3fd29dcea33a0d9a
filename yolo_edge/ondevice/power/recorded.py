"""A file that another program wrote of a power meter: a table with a time and what was measured."""

import csv
import io
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_bytes
from yolo_edge.ondevice.power import RECORDED as KIND
from yolo_edge.ondevice.power.meter import AMPERES, JOULES, VOLTS, WATTS, Column, Options
from yolo_edge.ondevice.power.trace import PowerTrace

RAIL = "meter"

_MAX_BYTES = 256 << 20
_FIRST_YEAR = 1e9  # seconds since 1970: 2001; what is below counts from somewhere else
_UNITS = {unit.lower(): (unit, table) for table in (VOLTS, AMPERES, WATTS, JOULES) for unit in table}
_UNITS.update({"ws": ("J", JOULES), "µa": ("uA", AMPERES), "µw": ("uW", WATTS), "µj": ("uJ", JOULES)})
# words in a heading → the quantity, and its unit where the heading has none
_WORDS: Tuple[Tuple[str, str, Dict[str, float]], ...] = (
    ("power", "W", WATTS),
    ("watt", "W", WATTS),
    ("watts", "W", WATTS),
    ("voltage", "V", VOLTS),
    ("volt", "V", VOLTS),
    ("volts", "V", VOLTS),
    ("current", "A", AMPERES),
    ("amps", "A", AMPERES),
    ("amperes", "A", AMPERES),
    ("energy", "J", JOULES),
)
_TIMES = ("time", "timestamp", "datetime", "date", "t")
_TIME_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Recording:
    """How a file is to be read.

    Attributes:
        path: Of it.
        scope: What the meter sees.
        offset: Seconds that its clock is behind: they are added to its times.
        start: When it began, in seconds since 1970, where its times count from 0; None: they are of a clock.
    """

    path: str
    scope: str
    offset: float
    start: Optional[float]

    @classmethod
    def from_options(cls, options: Dict[str, str]) -> "Recording":
        """From `--meter csv:FILE,scope=wall,offset=0.5,start=2026-11-22T12:00:00+01:00`.

        Raises:
            InputError: An option is none.
        """
        given = Options(KIND, options)
        path, scope = given.text("file", ""), given.scope("board_input")
        offset = given.number("offset", 0.0, -1e9, 1e9)
        text = given.text("start", "")
        start = _parse_time(text, 1.0) if text else None
        if text and (start is None or start < _FIRST_YEAR):
            raise InputError(f"--meter csv: start={text}: expected a time such as 2026-11-22T12:00:00+01:00")
        given.done()
        return cls(path, scope, offset, start)


def read_recording(recording: Recording) -> PowerTrace:
    """Read a table: a heading, then a row a reading, separated by commas, semicolons or tabs.

    Columns are found by their headings: a time (seconds, ms, µs or ns since 1970, ISO 8601, or from 0 with `start`),
    and power, or voltage and current, or energy, in that order of preference; units from the heading ("Power (mW)",
    "current_mA"), else W, V, A, J. Numbers may have a decimal comma where semicolons or tabs separate them.

    Returns:
        Times in seconds since 1970.

    Raises:
        InputError: The file is none of that; the message says which line or column.
    """
    path = recording.path
    try:
        text = read_bytes(path, _MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(";\t,", key=first.count)
    comma = delimiter != ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error})") from error
    headings = [cell.strip() for cell in rows[0]] if rows else []
    time, unit = _time_column(path, headings)
    columns = _power_columns(path, headings)
    times, values = [], []
    for number, row in enumerate(rows[1:], 2):
        if len(row) < len(headings):
            if number == len(rows):  # its program is still writing
                break
            raise InputError(f"{path}: row {number}: {len(row)} columns, the heading has {len(headings)}")
        stamp = _parse_time(row[time].strip(), unit, comma)
        if stamp is None:
            raise InputError(f"{path}: row {number}: {row[time].strip()!r} is no time")
        times.append(stamp)
        values.append([_number(row[i], comma) for i, _ in columns])
    if len(times) < 2:
        raise InputError(f"{path}: {len(times)} readings, expected some")
    return _trace(recording, np.array(times), np.array(values), [column for _, column in columns])


def _trace(recording: Recording, times: np.ndarray, values: np.ndarray, columns: Sequence[Column]) -> PowerTrace:
    path = recording.path
    if recording.start is not None:
        times = times - times[0] + recording.start
    elif times[0] < _FIRST_YEAR:
        raise InputError(
            f"{path}: its times begin at {times[0]:g} s: say when that was, --meter csv:{path},start="
            "2026-11-22T12:00:00+01:00"
        )
    backwards = np.flatnonzero(np.diff(times) < 0)
    if backwards.size:
        raise InputError(f"{path}: the time of row {backwards[0] + 3} is before that of the row above")
    fresh = np.concatenate([[True], np.diff(times) > 0])  # of readings within one tick the first
    try:
        trace = PowerTrace(
            KIND, recording.scope, False, (RAIL,), tuple(columns), times[fresh] + recording.offset, values[fresh]
        )
        trace.watts()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return trace


def _time_column(path: str, headings: Sequence[str]) -> Tuple[int, float]:
    for wanted in _TIMES:
        for i, heading in enumerate(headings):
            words = _words(heading)
            if words and words[0] == wanted:
                return i, next((_TIME_UNITS[word] for word in words[1:] if word in _TIME_UNITS), 0.0)
    raise InputError(f"{path}: no column is called time or timestamp; there are: {_list(headings)}")


def _power_columns(path: str, headings: Sequence[str]) -> List[Tuple[int, Column]]:
    found: Dict[int, Tuple[int, Column]] = {}
    tables = (WATTS, VOLTS, AMPERES, JOULES)
    for i, heading in enumerate(headings):
        unit = _unit(heading)
        for number, table in enumerate(tables):
            if unit in table and number not in found:
                found[number] = (i, Column(RAIL, unit))
    if 0 in found:
        return [found[0]]
    if 1 in found and 2 in found:
        return [found[1], found[2]]
    if 3 in found:
        return [found[3]]
    raise InputError(
        f"{path}: no column is called power, or voltage and current, or energy; there are: {_list(headings)}"
    )


def _unit(heading: str) -> str:
    """The unit of a column; empty where it holds something else."""
    words = _words(heading)
    if not words or words[0] in _TIMES:
        return ""
    named = next((_UNITS[word] for word in words if word in _UNITS), None)
    quantity = next(((unit, table) for word, unit, table in _WORDS if word in words), None)
    if named is None:
        return quantity[0] if quantity else ""
    if quantity is not None and quantity[1] is not named[1]:
        return ""  # such as "power (A)"
    return named[0]


def _words(heading: str) -> List[str]:
    return re.findall(r"[a-zµμ]+", heading.lower().replace("μ", "µ"))


def _parse_time(text: str, unit: float, comma: bool = False) -> Optional[float]:
    """Seconds since 1970, or since where the times begin; `unit` 0: of a number by its size."""
    number = _number(text, comma)
    if math.isfinite(number):
        if unit == 0:
            unit = next((factor for size, factor in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)) if number > size), 1.0)
        return number * unit
    try:
        # Python 3.8 knows no Z
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.replace(",", "."))).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _number(text: str, comma: bool) -> float:
    text = text.strip()
    if comma and "." not in text:
        text = text.replace(",", ".")
    try:
        return float(text) if re.fullmatch(r"[-+0-9.eE]+", text) else math.nan
    except ValueError:
        return math.nan


def _list(headings: Sequence[str]) -> str:
    return ", ".join(heading[:40] for heading in headings[:20]) or "none"
