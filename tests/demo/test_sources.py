"""Sources: what is one, and what is said of what is none."""

import sys
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.demo.support import grey, write_video
from tests.support import wait_for
from yolo_edge.demo.reader import Reader
from yolo_edge.demo.sources import Capture, PiCamera, Pictures, SourceError, open_source
from yolo_edge.ondevice.errors import InputError


def everything(source: Any) -> list[np.ndarray]:
    source.open()
    images = []
    while (taken := source.read()) is not None:
        images.append(taken[0])
    source.close()
    return images


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "mp4v")])
def test_a_video_is_read_frame_by_frame(tmp_path: Path, suffix: str, codec: str) -> None:
    levels = list(range(0, 250, 10))
    path = write_video(tmp_path / f"a video{suffix}", [grey(level) for level in levels], 12.5, codec)
    source = open_source(str(path))
    assert not source.live
    images = everything(source)
    assert [abs(int(image.mean()) - level) < 6 for image, level in zip(images, levels, strict=True)] == [True] * 25
    assert source.fps == pytest.approx(12.5)
    assert source.frames == 25
    assert len(everything(source)) == 25  # from the beginning


def test_names_that_libav_takes_for_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("file:a.avi", "-i.avi", "100%d.avi", "ä b'\".avi"):
        write_video(tmp_path / "plain.avi", [grey(9)]).rename(tmp_path / name)
        assert len(everything(open_source(name))) == 1


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 4000, b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n"])
def test_files_that_are_no_videos(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"v\.mp4: "):
        open_source(str(path)).open()


def test_a_truncated_video_ends_early(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "v.avi", [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(everything(open_source(str(path)))) < 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a camera"),
        ("no such.mp4", "no such file"),
        ("gopher://x/", "expected http"),
        ("file:///etc/passwd", "expected http"),
        ("concat:a|b://x", "expected http"),
        ("rtsp://", "expected http"),
        ("rtsp://h:99999/", "not an address"),
        ("rtsp://a b\n/", "expected http"),
    ],
)
def test_what_is_no_source(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(text)


@pytest.mark.parametrize("text", ["7", "/dev/video77"])
def test_a_camera_that_is_not_there(text: str) -> None:
    source = open_source(text)
    assert source.live
    with pytest.raises(SourceError, match="there is no such camera"):
        source.open()


def test_an_address_is_shown_without_its_password() -> None:
    assert open_source("rtsp://user:secret@host:554/cam?key=secret").name == "rtsp://host:554/cam"
    assert open_source("rtsp://user:secret@[fe80::1]:554/cam").name == "rtsp://[fe80::1]:554/cam"


def test_a_video_of_a_giant_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.avi", [grey(1)])
    monkeypatch.setattr("yolo_edge.demo.sources.MAX_PIXELS", 1000)
    with pytest.raises(InputError, match="frames of 64x48"):
        open_source(str(path)).open()


def test_pictures_are_read_and_bad_ones_passed_over(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), grey(50 * i, 20 + i))
    (tmp_path / "1.png").write_bytes(b"no picture")
    notes: list[str] = []
    images = everything(Pictures("a folder", sorted(tmp_path.glob("*.png")), notes.append))
    assert [image.shape[1] for image in images] == [20, 22]
    assert len(notes) == 1
    assert "1.png" in notes[0]
    (tmp_path / "2.png").write_bytes(b"none either")
    with pytest.raises(InputError, match=r"^a folder: none of the pictures can be read"):
        everything(Pictures("a folder", [tmp_path / "1.png", tmp_path / "2.png"], notes.append))
    with pytest.raises(InputError, match=r"^.*1\.png: not a picture"):
        everything(Pictures("1.png", [tmp_path / "1.png"], notes.append))


def test_picamera_without_its_library() -> None:
    with pytest.raises(InputError, match="apt install python3-picamera2"):
        open_source("picamera").open()


class Picamera2:
    """The part of picamera2's class that is used, as its manual (chapters 3 to 5) describes it."""

    open_cameras = 0

    def __init__(self, camera_num: int):
        self.number, self.started, self.frames = camera_num, False, 0

    def create_video_configuration(self, main: dict[str, Any], buffer_count: int) -> dict[str, Any]:
        assert main["format"] == "RGB888"  # B, G, R in memory, as the manual's table says
        return {"main": main, "buffer_count": buffer_count}

    def configure(self, configuration: dict[str, Any]) -> None:
        self.size = configuration["main"]["size"]

    def start(self) -> None:
        if Picamera2.open_cameras:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        Picamera2.open_cameras += 1
        self.started = True

    def capture_array(self, name: str) -> np.ndarray:
        assert self.started
        assert name == "main"
        self.frames += 1
        if self.frames > 2:
            raise RuntimeError("Camera frontend has timed out!")
        return np.full((self.size[1], self.size[0], 3), (1, 2, 3), np.uint8)

    def stop(self) -> None:
        Picamera2.open_cameras -= self.started
        self.started = False

    def close(self) -> None:
        assert not self.started


def test_picamera(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("picamera2")
    module.Picamera2 = Picamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    source = open_source("picamera:1", (320, 240))
    assert isinstance(source, PiCamera)
    source.open()
    first = source.read()
    assert first is not None
    assert first[0].shape == (240, 320, 3)
    assert first[0][0, 0].tolist() == [1, 2, 3]
    assert source.read() is not None
    assert source.read() is None
    other = open_source("picamera")
    with pytest.raises(SourceError, match="did not complete"):
        other.open()
    source.close()
    assert Picamera2.open_cameras == 0
    source.open()  # again
    assert source.read() is not None
    source.close()


def test_a_picamera_that_is_pulled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """libcamera fails to stop it, too; it counts as lost, and is looked for again."""

    class Pulled(Picamera2):
        def stop(self) -> None:
            super().stop()
            raise RuntimeError("Camera frontend is gone")

    module = types.ModuleType("picamera2")
    module.Picamera2 = Pulled  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    notes: list[str] = []
    reader = Reader(open_source("picamera"), loop=False, note=notes.append)
    reader.start()
    wait_for(lambda: any("is back" in note for note in notes))
    reader.stop()
    assert notes[0] == "picamera 0 is lost; trying to reach it again"
    assert reader.error is None
    assert Picamera2.open_cameras == 0


def test_a_camera_is_asked_for_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, float] = {}

    class Camera:
        def open(self, *_: object) -> bool:
            return True

        def set(self, key: int, value: float) -> bool:
            asked[key] = value
            return True

        def get(self, key: int) -> float:
            return asked.get(key, 30.0)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Capture, "_device", lambda self: None)
    source = open_source("0", (1280, 720))
    assert isinstance(source, Capture)
    source.open()
    assert (asked[cv2.CAP_PROP_FRAME_WIDTH], asked[cv2.CAP_PROP_FRAME_HEIGHT]) == (1280, 720)
    assert asked[cv2.CAP_PROP_BUFFERSIZE] == 1
    assert source.fps == 30
    assert source.frames is None
