"""Where pictures come from: cameras, streams, video files, pictures."""

import importlib
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

# libav writes what it thinks of a stream to standard error; what matters is in our own errors
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import check_readable, printable
from yolo_edge.ondevice.images import SUFFIXES, read_image
from yolo_edge.ondevice.pictures import find_images

MAX_PIXELS = 1 << 25  # of a frame: a damaged or hostile video can claim any size

_SCHEMES = ("http", "https", "rtmp", "rtsp", "rtsps", "srt", "tcp", "udp")
_OPEN_MS, _READ_MS = 10_000, 5_000  # until a stream counts as gone
_PICAMERA = re.compile(r"picamera(?::(\d))?")
_PICAMERA_SIZE = (640, 480)

Taken = tuple[np.ndarray, float]


class SourceError(YoloEdgeError):
    """A source gives no pictures, now."""


class Source(Protocol):
    """What a `Reader` reads. All methods are called by one thread at a time.

    Attributes:
        name: For a person; without passwords.
        live: Pictures come by themselves: those that nobody takes are lost, and a source that ends is lost, too.
        fps: Pictures a second as the source says it; None: it does not say.
        frames: How many there are, as the source says it; None: it does not say.
    """

    name: str
    live: bool
    fps: float | None
    frames: int | None

    def open(self) -> None:
        """Begin, or begin again.

        Raises:
            SourceError: It is not there.
            InputError: It is a file that holds no such thing, or a library is missing.
        """

    def read(self) -> Taken | None:
        """The next picture (BGR, uint8 [height, width, 3]) and when it was taken (`time.monotonic`); None: no more.

        Raises:
            InputError: They are files, and none can be read.
        """

    def close(self) -> None:
        """Let it go. May be called at any time, and twice."""


class Capture:
    """A camera, a stream or a video file, through OpenCV; the attributes are those of `Source`."""

    def __init__(
        self, target: int | str, name: str, *, live: bool, backends: Sequence[int], size: tuple[int, int] | None = None
    ):
        """Nothing is opened yet.

        Args:
            target: Of `cv2.VideoCapture`.
            name: For a person.
            live: As in `Source`.
            backends: Of OpenCV, the first that opens it is taken.
            size: Width and height that a camera is asked for.
        """
        self.name, self.live = name, live
        self.fps: float | None = None
        self.frames: int | None = None
        self._target, self._backends, self._size = target, backends, size
        self._capture: Any = None

    def open(self) -> None:
        """Begin, or begin again."""
        self.close()
        device = self._device()
        if device is not None and not device.exists():
            there = ", ".join(sorted(str(other) for other in Path("/dev").glob("video*"))) or "none"
            raise SourceError(f"{self.name}: there is no such camera (cameras here: {there})")
        for backend in self._backends:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
            capture: Any = cv2.VideoCapture()
            try:
                opened = capture.open(self._target, backend, timeouts if backend == cv2.CAP_FFMPEG else [])
            except cv2.error:
                opened = False
            if opened:
                self._capture = capture
                break
        else:
            raise self._unusable(self._why_not())
        if device is not None or isinstance(self._target, int):
            self._ask_camera()
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            raise self._unusable(f"frames of {width}x{height}, more than {MAX_PIXELS} pixels")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0.1 <= fps <= 1000 else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames = int(count) if not self.live and 0 < count < 1e9 else None

    def read(self) -> Taken | None:
        """The next picture and when it was taken; None: no more."""
        try:
            if self._capture is None or not self._capture.grab():
                return None
            taken = time.monotonic()
            done, image = self._capture.retrieve()
        except cv2.error:  # frames that change their form in the middle
            return None
        if not done or image is None or image.size == 0:
            return None
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return np.asarray(image, np.uint8), taken

    def close(self) -> None:
        """Let it go."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _ask_camera(self) -> None:
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest, not those that piled up
        if self._size is not None:
            # USB has no room for large pictures that are not compressed
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])

    def _device(self) -> Path | None:
        """The device file of a camera; None: it is none, or the system has no such files."""
        if isinstance(self._target, str):
            return Path(self._target) if self._target.startswith("/dev/") else None
        return Path(f"/dev/video{self._target}") if sys.platform == "linux" else None

    def _unusable(self, problem: str) -> YoloEdgeError:
        """The error for a camera or stream that may work another time, or for a file, which will not."""
        return (SourceError if self.live else InputError)(f"{self.name}: {problem}")

    def _why_not(self) -> str:
        if not self.live:
            return "OpenCV reads no video from it"
        if isinstance(self._target, str) and self._device() is None:
            return f"no video comes from there within {_OPEN_MS // 1000} s"
        return "the camera does not open: another program may have it, or this user may not (group video)"


class Pictures:
    """Picture files, one after the other; unreadable ones are passed over. The attributes are those of `Source`."""

    live = False

    def __init__(self, name: str, paths: Sequence[Path], note: Callable[[str], None]):
        """Nothing is read yet; `note` is told of the unreadable ones."""
        self.name = name
        self.fps: float | None = None
        self.frames: int | None = len(paths)
        self._paths, self._note = paths, note
        self._next, self._readable = 0, 0

    def open(self) -> None:
        """Begin, or begin again."""
        self._next = self._readable = 0

    def read(self) -> Taken | None:
        """The next picture and when it was read; None: no more."""
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            try:
                image = read_image(path)
            except InputError as error:
                if len(self._paths) == 1:
                    raise
                self._note(f"passed over: {error}")
                continue
            self._readable += 1
            return image, time.monotonic()
        if self._readable == 0:
            raise InputError(f"{self.name}: none of the pictures can be read")
        return None

    def close(self) -> None:
        """Nothing is open."""


class PiCamera:
    """A Raspberry Pi's camera through picamera2, which comes with Raspberry Pi OS; attributes as in `Source`."""

    live = True

    def __init__(self, number: int, size: tuple[int, int] | None):
        """Nothing is opened yet; `size` is width and height."""
        self.name = f"picamera {number}"
        self.fps: float | None = None
        self.frames: int | None = None
        self._number, self._size = number, size or _PICAMERA_SIZE
        self._camera: Any = None

    def open(self) -> None:
        """Begin, or begin again."""
        try:
            picamera2 = importlib.import_module("picamera2")
        except ImportError as error:
            raise InputError(
                f"picamera: picamera2 cannot be imported ({printable(str(error))}); on Raspberry Pi OS: apt install "
                "python3-picamera2, and an environment made with python3 -m venv --system-site-packages"
            ) from error
        self.close()
        try:
            self._camera = picamera2.Picamera2(self._number)
            # "RGB888" is B, G, R in memory
            self._camera.configure(
                self._camera.create_video_configuration(main={"format": "RGB888", "size": self._size}, buffer_count=4)
            )
            self._camera.start()
        except Exception as error:  # of libcamera, of many types
            self.close()
            raise SourceError(f"{self.name}: {printable(str(error)) or type(error).__name__}") from error

    def read(self) -> Taken | None:
        """The next picture and when it came; None: it is gone."""
        try:
            image = self._camera.capture_array("main")
        except Exception:  # noqa: BLE001 - of libcamera, of many types
            return None
        return np.ascontiguousarray(image[:, :, :3], np.uint8), time.monotonic()

    def close(self) -> None:
        """Let it go."""
        camera, self._camera = self._camera, None
        if camera is not None:
            for end in (camera.stop, camera.close):
                with suppress(Exception):  # of libcamera, of many types: one that was pulled out
                    end()


def open_source(
    text: str, size: tuple[int, int] | None = None, note: Callable[[str], None] = lambda text: None
) -> Source:
    """The camera, stream, video file or pictures that a user named; nothing is opened yet.

    Args:
        text: A camera's number or device file, "picamera", "scenes", an address, a video file; a picture, a folder or a
            glob of pictures.
        size: Width and height that a camera is asked for.
        note: Is told of pictures that cannot be read.

    Raises:
        InputError: Nothing of the kind.
    """
    if not text:
        raise InputError("--source: expected a camera, a file, a folder or an address, got an empty text")
    if text == "scenes":
        from yolo_edge.demo.scenes import Scenes  # noqa: PLC0415 - nobody else needs the sample

        return Scenes()
    match = _PICAMERA.fullmatch(text)
    if match:
        return PiCamera(int(match.group(1) or 0), size)
    if re.fullmatch(r"\d{1,3}", text):
        return _camera(int(text), f"camera {text}", size)
    if "://" in text:
        return _stream(text)
    if _is_device(text):
        return _camera(text, text, size)
    if _are_pictures(text):
        return Pictures(text, find_images([text]), note)
    check_readable(text)
    # absolute: libav takes what stands before a colon for a protocol
    return Capture(str(Path(text).absolute()), text, live=False, backends=(cv2.CAP_FFMPEG, cv2.CAP_ANY))


def _camera(target: int | str, name: str, size: tuple[int, int] | None) -> Capture:
    return Capture(target, name, live=True, backends=(cv2.CAP_V4L2, cv2.CAP_ANY), size=size)


def _stream(text: str) -> Capture:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"--source: not an address ({error})") from error
    if parts.scheme not in _SCHEMES or not host or not text.isprintable():
        raise InputError(f"--source: expected {', '.join(_SCHEMES)}://HOST…, got {printable(text)!r}")
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))  # no password
    return Capture(text, shown, live=True, backends=(cv2.CAP_FFMPEG, cv2.CAP_ANY))


def _are_pictures(text: str) -> bool:
    try:
        return Path(text).suffix.lower() in SUFFIXES or "*" in text or Path(text).is_dir()
    except (OSError, ValueError):
        return False


def _is_device(text: str) -> bool:
    try:
        return text.startswith("/dev/") and (not Path(text).exists() or stat.S_ISCHR(Path(text).stat().st_mode))
    except (OSError, ValueError):
        return False
