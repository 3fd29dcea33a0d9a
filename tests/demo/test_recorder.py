"""Recordings: as fast as the source, whole whatever happens, playable by others."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests.demo.support import FakeSource, demo_of, grey, names_of_threads, read_video, scripted, write_video
from tests.support import wait_for
from yolo_edge.demo.inference import Found, Result
from yolo_edge.demo.reader import Frame
from yolo_edge.demo.recorder import Recorder
from yolo_edge.demo.sources import open_source
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.errors import InputError, YoloEdgeError

NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))


def result(number: int, captured: float, image: np.ndarray) -> Result:
    return Result(Frame(number, image, captured), (Found(0, NOTHING, 0, 0, 0),), 0, 0)


def wait(demo: object) -> None:
    wait_for(demo.inference.done.is_set)  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_file_keeps_its_frames_and_their_rate(tmp_path: Path, suffix: str) -> None:
    levels = [10 * i for i in range(20)]
    source = write_video(tmp_path / "in.avi", [grey(level, 160, 120) for level in levels], 7.5)
    target = tmp_path / f"new folder/out{suffix}"
    before = names_of_threads()
    with demo_of(open_source(str(source)), [scripted()], save=target) as demo:
        wait(demo)
    fps, images = read_video(target)
    assert fps == pytest.approx(7.5)
    assert len(images) == 20
    for level, image in zip(levels, images, strict=True):
        assert abs(int(image[100, 120].mean()) - level) < 12  # away from the box
        assert image[8, 10:28, 2].max() > 150  # the red box
    assert names_of_threads() == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_page_at_another_speed_gives_the_video_that_speed(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.avi", [grey(0)] * 5, 10)
    with demo_of(open_source(str(source)), [scripted()], save=tmp_path / "out.avi", fps=50) as demo:
        wait(demo)
    assert read_video(tmp_path / "out.avi")[0] == pytest.approx(50)


def test_what_is_live_is_recorded_in_real_time(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.avi", [scripted()], confidence=0.25, live=True, fps=None, note=print)
    moments = [0.1 * i for i in range(31)]  # ten frames a second for three seconds
    moments += [3.0 + 0.5 * i for i in range(1, 5)]  # then two a second, for two
    moments += [5.0 + 0.02 * i for i in range(1, 51)]  # then fifty, for one
    for number, moment in enumerate(moments):
        recorder(result(number, moment, grey(40 * int(moment))))
        wait_for(recorder._results.empty)  # the test is faster than any camera
    recorder.close()
    fps, images = read_video(tmp_path / "out.avi")
    assert fps == pytest.approx(10, rel=0.05)
    assert len(images) / fps == pytest.approx(5, abs=0.25)  # all but the first second
    for second in range(1, 6):
        image = images[int((second - 1 + 0.55) * fps)]
        assert abs(int(image.mean()) - 40 * second) < 5


def test_other_sizes_are_fitted_in(tmp_path: Path) -> None:
    images = [grey(200, 64, 48), grey(200, 48, 64), grey(200, 31, 31), grey(200, 65, 49)]
    recorder = Recorder(tmp_path / "out.avi", [scripted()], confidence=0.25, live=False, fps=5, note=print)
    for number, image in enumerate(images):
        recorder(result(number, number, image))
    recorder.close()
    _, written = read_video(tmp_path / "out.avi")
    assert [image.shape for image in written] == [(48, 64, 3)] * 4
    assert [int(image[24, 4].mean()) > 150 for image in written] == [True, False, False, True]
    assert all(image[24, 32].mean() > 150 for image in written)


def test_a_frame_without_room_for_a_video(tmp_path: Path) -> None:
    with (
        pytest.raises(YoloEdgeError, match="too small for a video"),
        demo_of(FakeSource(lambda i: grey(0, 1, 1)), [scripted()], save=tmp_path / "out.avi") as demo,
    ):
        wait_for(lambda: demo.inference.frames > 3)  # which goes on
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.demo.recorder._FREE_BYTES", 1 << 62)
    notes: list[str] = []
    with (
        pytest.raises(YoloEdgeError, match="left on the disk"),
        demo_of(FakeSource(lambda i: grey(0)), [scripted()], save=tmp_path / "out.avi", notes=notes) as demo,
    ):
        wait_for(lambda: demo.inference.frames > 300)
    assert len(read_video(tmp_path / "out.avi")[1]) == 100  # what was there is whole
    assert sum("recording ended" in note for note in notes) == 1


def test_whatever_fails_ends_the_recording_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> np.ndarray:
        raise ValueError("of a kind that nobody thought of")

    monkeypatch.setattr("yolo_edge.demo.recorder.draw", fail)
    source = FakeSource(lambda i: grey(0) if i < 20 else None)  # of which every frame waits for its place
    with (
        pytest.raises(YoloEdgeError, match=r"out\.avi: not written \(of a kind that nobody thought of\)"),
        demo_of(source, [scripted()], save=tmp_path / "out.avi") as demo,
    ):
        wait(demo)
    assert (demo.inference.frames, demo.inference.error) == (20, None)


def test_what_was_there_stays_when_nothing_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "out.avi").write_bytes(b"old")
    recorder = Recorder(tmp_path / "out.avi", [scripted()], confidence=0.25, live=True, fps=None, note=print)
    recorder(result(0, 0, grey(0)))
    with pytest.raises(YoloEdgeError, match="nothing was recorded"):
        recorder.close()
    assert (tmp_path / "out.avi").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["out.gif", "out", "folder.mp4", "in.avi/out.mp4"])
def test_places_that_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "in.avi").write_bytes(b"x")
    with pytest.raises(InputError):
        Recorder(tmp_path / name, [scripted()], confidence=0.25, live=False, fps=5, note=print)


def test_a_slow_disk_slows_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Recorder._record

    def slow(self: Recorder, item: Result) -> None:
        time.sleep(0.05)
        record(self, item)

    monkeypatch.setattr(Recorder, "_record", slow)

    def picture(i: int) -> np.ndarray:
        time.sleep(0.005)
        return grey(0)

    with demo_of(FakeSource(picture, live=True), [scripted()], save=tmp_path / "out.avi") as demo:
        wait_for(lambda: demo.inference.frames > 300)
        recorder = demo._recorder
    assert recorder is not None
    assert recorder.left_out > 100
    assert recorder.written > 0
