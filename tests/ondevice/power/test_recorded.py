"""Tables that other programs write of their meters."""

from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.power import parse_meter
from yolo_edge.ondevice.power.recorded import Recording, read_recording
from yolo_edge.ondevice.power.trace import PowerTrace

BEGIN = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc).timestamp()


def read(path: Path, text: str, options: str = "") -> PowerTrace:
    path.write_bytes(text.encode())
    return read_recording(Recording.from_options(parse_meter(f"csv:{path}{options}")[1]))


# heading and three rows of 2, 3 and 4 W, half a second apart from 12:00:00 UTC on
TABLES = {
    "seconds": "timestamp,power_w\n1795348800.0,2\n1795348800.5,3\n1795348801,4\n",
    "milliseconds": "Time (ms),Power (mW)\n1795348800000,2000\n1795348800500,3000\n1795348801000,4000\n",
    "by their size": "time,power\n1795348800000000,2\n1795348800500000,3\n1795348801000000,4\n",
    "nanoseconds": "time,power\n1795348800000000000,2\n1795348800500000000,3\n1795348801000000000,4\n",
    "ISO": "Timestamp;Volts;Amps\n2026-11-22T12:00:00Z;5,0;0,4\n2026-11-22T12:00:00.500Z;5,0;0,6\n"
    "2026-11-22T12:00:01Z;5,0;0,8\n",
    "another zone": "datetime\tVoltage [V]\tCurrent [mA]\n2026-11-22 13:00:00+01:00\t5\t400\n"
    "2026-11-22 13:00:00.5+01:00\t5\t600\n2026-11-22 13:00:01+01:00\t5\t800\n",
    "more columns": "no,time,voltage,current,power,temperature (C),Energy (mWh)\n1,1795348800,9,9,2,25,0\n"
    "2,1795348800.5,9,9,3,25,1\n3,1795348801,9,9,4,25,2\n",
    "BOM and CRLF": "\ufefftime,power\r\n1795348800,2\r\n1795348800.5,3\r\n\r\n1795348801,4\r\n",
    "quoted": '"time","power (W)"\n"1795348800","2"\n"1795348800.5","3"\n"1795348801","4"\n',
    "while it is written": "time,power\n1795348800,2\n1795348800.5,3\n1795348801,4\n17953",
    "the same tick twice": "time,power\n1795348800,2\n1795348800.5,3\n1795348800.5,9\n1795348801,4\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_tables(tmp_path: Path, text: str) -> None:
    trace = read(tmp_path / "a.csv", text)
    assert (trace.kind, trace.scope, trace.estimated, trace.counts) == ("csv", "board_input", False, False)
    assert trace.times.tolist() == [BEGIN, BEGIN + 0.5, BEGIN + 1]
    assert trace.watts()[1] == pytest.approx([2, 3, 4])
    assert trace.joules([BEGIN], [BEGIN + 1])[0] == pytest.approx(3.0)


def test_a_counter(tmp_path: Path) -> None:
    trace = read(tmp_path / "a.csv", "time,Energy (mWh)\n1795348800,7\n1795348805,8\n")
    assert trace.counts
    assert trace.joules([BEGIN], [BEGIN + 5])[0] == pytest.approx(3.6)


def test_options(tmp_path: Path) -> None:
    text = "Time (s),power\n0.0,2\n0.5,3\n1.0,4\n"
    path = tmp_path / "a, b.csv"
    trace = read(path, text, ",scope=wall,start=2026-11-22T13:00:00+01:00,offset=-2.5")
    assert trace.scope == "wall"
    assert trace.times.tolist() == [BEGIN - 2.5, BEGIN - 2, BEGIN - 1.5]
    with pytest.raises(InputError, match=r"its times begin at 0 s: say when that was, --meter csv:.*start=2026"):
        read(path, text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",scope=moon", "scope=moon: expected one of board_input"),
        (",offset=x", "offset=x: expected a number"),
        (",offset=nan", "offset=nan: expected a number"),
        (",start=noon", "start=noon: expected a time such as 2026"),
        (",start=12", "start=12: expected a time"),
        (",rail=a", "there is no option 'rail'"),
    ],
)
def test_bad_options(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.csv", TABLES["seconds"], options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n", "no column is called time or timestamp; there are: none"),
        ("a,b\n1,2\n", "no column is called time or timestamp; there are: a, b"),
        (
            "time,colour\n1,red\n",
            "no column is called power, or voltage and current, or energy; there are: time, colour",
        ),
        ("time,voltage\n1,5\n", "no column is called power"),
        ("time,power (A)\n1,5\n", "no column is called power"),
        ("time,power\n", "0 readings, expected some"),
        ("time,power\n1795348800,1\n", "1 readings, expected some"),
        ("time,power\nnoon,1\n1795348801,1\n", "row 2: 'noon' is no time"),
        ("time,power\n1795348800,1\n1795348799,1\n", "the time of row 3 is before that of the row above"),
        ("time,power\n1795348800\n1795348801,1\n", "row 2: 1 columns, the heading has 2"),
        ("time,energy\n1795348800,5\n1795348801,4\n", "the counter of meter falls"),
        ('time,power\n"1795348800,1\n', "0 readings"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.csv", text)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_recording(Recording(str(tmp_path / "missing"), "wall", 0, None))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00time")
    with pytest.raises(InputError, match="is no text in UTF-8"):
        read_recording(Recording(str(tmp_path / "binary"), "wall", 0, None))


def test_readings_that_are_none_are_gaps(tmp_path: Path) -> None:
    trace = read(tmp_path / "a.csv", "time,power\n1795348800,2\n1795348801,\n1795348802,nan\n1795348803,5\n")
    assert trace.largest_gap(BEGIN, BEGIN + 3) == 3


@given(text=st.text('time,;\tpower()WmA0123456789.-e"\n\r', max_size=200))
def test_hostile_tables_are_refused_or_read(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    message = ""
    try:
        trace = read(path, "time,power\n" + text)
    except InputError as error:
        message = str(error)
    else:
        assert len(trace.times) >= 2
    assert str(path) in message or not message
