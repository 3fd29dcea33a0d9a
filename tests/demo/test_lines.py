"""--jsonl: a line a frame, and readers that are slow or gone."""

import errno
import io
import json
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.demo.support import FakeSource, demo_of, grey, names_of_threads, scripted
from tests.support import wait_for
from yolo_edge.demo.lines import Lines
from yolo_edge.ondevice.errors import YoloEdgeError


def test_a_line_for_each_frame() -> None:
    stream = io.StringIO()
    source = FakeSource(lambda i: grey(0, 100, 80) if i < 300 else None)
    with demo_of(source, [scripted(lambda i: [(i % 3, 0.9), (0, 0.2)])], jsonl=stream) as demo:
        wait_for(demo.inference.done.is_set)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["frame"] for line in lines] == list(range(300))
    assert [line["detections"][0]["class_id"] for line in lines] == [i % 3 for i in range(300)]
    assert all(len(line["detections"]) == 1 for line in lines)
    assert (lines[0]["width"], lines[0]["height"], lines[0]["model"]) == (100, 80, "script")
    assert lines[0]["latency_ms"] >= 0


@pytest.mark.parametrize("live", [False, True])
def test_a_reader_that_takes_nothing(live: bool) -> None:
    before = names_of_threads()
    taken, given = os.pipe()
    stream = os.fdopen(given, "w")
    with os.fdopen(taken) as reader:
        with demo_of(FakeSource(lambda i: grey(0), live=live), [scripted()], jsonl=stream) as demo:
            if live:  # frames are left out
                wait_for(lambda: demo._lines is not None and demo._lines.left_out > 100)
            else:  # it waits for the reader
                wait_for(lambda: demo._lines is not None and demo._lines._writer._waiting.full())
                frames = demo.inference.frames
                reader.read(1)
                assert demo.inference.frames <= frames + 3
            # the end does not wait for it
        assert demo.inference.error is None
    with suppress(BrokenPipeError):  # raised by one of the two that write: the thread, or the end of the stream
        stream.close()
    wait_for(lambda: names_of_threads() == before)


def test_a_reader_that_goes_away_ends_what_has_no_other_purpose() -> None:
    notes: list[str] = []
    taken, given = os.pipe()
    stream = os.fdopen(given, "w")
    with demo_of(FakeSource(lambda i: grey(0)), [scripted()], jsonl=stream, notes=notes) as demo:
        os.close(taken)
        demo.run(threading.Event())
    assert notes == ["the reader of --jsonl went away", "nothing is left to do"]
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_disk_that_is_slow_and_then_full_is_a_failed_job() -> None:
    """More wait then than there is room for, and what went wrong is said all the same."""
    begun, full = threading.Event(), threading.Event()

    class Disk(io.StringIO):
        def write(self, text: str) -> int:
            begun.set()
            full.wait()
            raise OSError(errno.ENOSPC, "No space left on device")

    lines = Lines(Disk(), print)
    lines.offer("x", 0)
    begun.wait()
    while lines.offer("x", 0):
        pass
    full.set()
    with pytest.raises(YoloEdgeError, match="no space left on device"):
        lines.close()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_lines_that_cannot_be_written_are_a_failed_job() -> None:
    notes: list[str] = []
    stream = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, too
    said = r"the lines of --jsonl cannot be written \(no space left on device\)"
    with (
        pytest.raises(YoloEdgeError, match=said),
        demo_of(FakeSource(lambda i: grey(0)), [scripted()], jsonl=stream, notes=notes) as demo,
    ):
        demo.run(threading.Event())
    assert re.fullmatch(said, notes[0])
    with pytest.raises(OSError, match="No space left"):
        stream.close()
