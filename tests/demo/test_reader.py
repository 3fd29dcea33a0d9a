"""The reader: the newest picture of what is live, every picture of a file, and cameras that go away."""

import time
from pathlib import Path

import pytest

from tests.demo.support import FakeSource, NetworkCamera, grey, names_of_threads, write_video
from tests.support import wait_for
from yolo_edge.demo.reader import _LONGEST_PAUSE_S, Frame, Reader
from yolo_edge.demo.sources import SourceError, open_source


def all_of(reader: Reader, pause: float = 0) -> list[Frame]:
    frames = []
    while not reader.ended:
        frame = reader.next(0.5)
        if frame is not None:
            frames.append(frame)
            time.sleep(pause)
    return frames


def test_every_picture_of_a_file_in_order_however_slow_it_goes() -> None:
    source = FakeSource(lambda i: grey(i) if i < 40 else None)
    reader = Reader(source, loop=False, note=print)
    reader.start()
    frames = all_of(reader, 0.002)
    assert [frame.number for frame in frames] == list(range(40))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(40))
    reader.stop()
    assert reader.skipped == 0
    assert source.closed > 0


def test_the_newest_picture_of_what_is_live() -> None:
    made: list[int] = []

    def picture(i: int) -> object:
        time.sleep(0.002)
        made.append(i)
        return grey(i % 256)

    reader = Reader(FakeSource(picture, live=True), loop=False, note=print)  # type: ignore[arg-type]
    reader.start()
    numbers = []
    for _ in range(10):
        frame = reader.next(5)
        assert frame is not None
        assert made[-1] - frame.number <= 2  # nothing older
        numbers.append(frame.number)
        time.sleep(0.02)
    reader.stop()
    assert numbers == sorted(set(numbers))
    assert reader.skipped > 20


def test_a_file_at_its_own_speed_and_again_from_the_beginning() -> None:
    images = [grey(i) for i in range(5)]
    source = FakeSource(lambda i: images[i % 6] if i % 6 < 5 else None)
    reader = Reader(source, loop=True, note=print)
    reader.start(100)
    begun = time.monotonic()
    levels = [int(frame.image[0, 0, 0]) for frame in (reader.next(5) for _ in range(12)) if frame is not None]
    assert levels == [0, 1, 2, 3, 4] * 2 + [0, 1]
    assert time.monotonic() - begun >= 0.1  # not before its time; later is the machine's business
    reader.stop()
    assert source.opened == 3


def test_an_empty_file_does_not_go_round_for_ever() -> None:
    reader = Reader(FakeSource(lambda i: None), loop=True, note=print)
    reader.start()
    assert all_of(reader) == []
    reader.stop()


def test_a_source_whose_pictures_are_bad_ends_with_the_reason() -> None:
    def picture(i: int) -> object:
        raise SourceError("they are all bad")

    reader = Reader(FakeSource(picture), loop=False, note=print)  # type: ignore[arg-type]
    reader.start()
    assert all_of(reader) == []
    assert str(reader.error) == "they are all bad"
    reader.stop()


def test_stopping_needs_no_end_and_leaves_no_thread(tmp_path: Path) -> None:
    before = names_of_threads()
    path = write_video(tmp_path / "v.avi", [grey(1)] * 20)
    for source in (open_source(str(path)), FakeSource(lambda i: grey(1), live=True)):
        reader = Reader(source, loop=True, note=print)
        reader.start(1)
        assert reader.next(5) is not None
        reader.stop()
    never_started = Reader(open_source(str(path)), loop=False, note=print)
    never_started.stop()
    assert names_of_threads() == before


def test_a_camera_that_is_taken_away_and_put_back() -> None:
    camera = NetworkCamera()
    camera.put_back()
    notes: list[str] = []
    reader = Reader(open_source(camera.url), loop=False, note=notes.append)
    reader.start()
    try:
        assert reader.next(10) is not None
        camera.take_away()
        wait_for(lambda: (reader.next(0.01), reader.lost)[1])
        time.sleep(1)  # some tries fail
        assert reader.next(0.1) is None
        camera.put_back()
        assert reader.next(60) is not None
        assert _LONGEST_PAUSE_S <= 2  # the issue asks for five seconds, of which this machine may need some
        assert reader.lost is None
        assert [("lost" in note, "back after" in note) for note in notes] == [(True, False), (False, True)]
        assert "secret" not in " ".join(notes)
    finally:
        reader.stop()
        camera.take_away()


def test_a_lost_camera_does_not_hold_up_the_end() -> None:
    reader = Reader(FakeSource(lambda i: grey(1) if i == 0 else None, live=True), loop=False, note=print)
    reader.start()
    assert reader.next(5) is not None
    wait_for(lambda: reader.lost)
    begun = time.monotonic()
    reader.stop()
    assert time.monotonic() - begun < 2


def test_what_is_not_there_is_noticed_at_once() -> None:
    with pytest.raises(SourceError, match="no such camera"):
        Reader(open_source("9"), loop=False, note=print)
