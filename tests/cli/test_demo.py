"""`yolo-edge demo` as a user meets it: as a process, with what it prints and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen as open_url

import cv2
import pytest

from tests.cli.conftest import Run
from tests.demo.support import NetworkCamera, grey, read_video, write_video
from tests.support import random_picture, wait_for
from yolo_edge import Detector


def read_url(url: str, size: int = -1) -> bytes:
    """What is at an address of this machine."""
    with open_url(url, timeout=10) as answer:  # noqa: S310 - http, as printed
        data: bytes = answer.read(size)
        return data


def frames(url: str) -> int:
    return int(json.loads(read_url(f"{url}status.json")).get("frames", 0))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [random_picture(96, 64, seed) for seed in range(20)]
    return write_video(tmp_path_factory.mktemp("video") / "v.avi", images, 10)


@contextmanager
def program(*arguments: object, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "yolo_edge", "demo", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        match = re.match(r"Look at (http://\S+)", line)
        if match:
            return match[1]
    raise AssertionError("no address was printed")


def test_a_file_to_a_video_and_to_lines(run: Run, onnx_file: Path, video: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    result = run("demo", onnx_file, "--source", video, "--no-view", "--save", target, "--jsonl", "--confidence", 0.05)
    assert result.code == 0
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(20))
    # a frame is a picture like any other
    for number, image in enumerate(read_video(video)[1][:3]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        found = run("detect", onnx_file, tmp_path / f"{number}.png", "--confidence", 0.05, "--json").json
        assert lines[number]["detections"] == found[0]["detections"]
    assert any(line["detections"] for line in lines)
    fps, images = read_video(target)
    assert fps == pytest.approx(10)
    assert len(images) == 20
    assert f"20 frames in {target}" in result.err.splitlines()[-1]


def test_pictures_are_a_source(run: Run, onnx_file: Path, tmp_path: Path) -> None:
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i}.png"), grey(10 * i))
    for source in (tmp_path, tmp_path / "*.png"):
        lines = run("demo", onnx_file, "--source", source, "--no-view", "--jsonl").out.splitlines()
        assert len(lines) == 12
    (tmp_path / "3.png").write_bytes(b"no picture")
    result = run("demo", onnx_file, "--source", tmp_path, "--no-view", "--jsonl")
    assert (result.code, len(result.out.splitlines())) == (0, 11)
    assert "passed over: " in result.err


def test_only_some_classes(run: Run, onnx_file: Path, video: Path) -> None:
    options = ["--source", video, "--no-view", "--jsonl", "--confidence", 0.05]
    every = [json.loads(line)["detections"] for line in run("demo", onnx_file, *options).out.splitlines()]
    names = sorted({item["class"] for found in every for item in found})
    assert len(names) > 1
    some = run("demo", onnx_file, *options, "--classes", names[0]).out.splitlines()
    left = [[item for item in found if item["class"] == names[0]] for found in every]
    assert [json.loads(line)["detections"] for line in some] == left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_as_it_should(number: int, onnx_file: Path, tmp_path: Path) -> None:
    """The lamp is off, the video complete, the exit code 0."""
    camera = NetworkCamera(40)
    camera.put_back()
    # gpiozero's mock pins, whose states another process sees in a file
    (tmp_path / "sitecustomize.py").write_text(
        "import gpiozero.pins.mock as mock\n"
        "class Told(mock.MockPin):\n"
        "    def _change_state(self, value):\n"
        "        changed = super()._change_state(value)\n"
        f"        if changed: open({str(tmp_path / 'lamp')!r}, 'a').write(str(int(value)))\n"
        "        return changed\n"
        "mock.MockFactory.__init__.__kwdefaults__ = None\n"
        "before = mock.MockFactory.__init__\n"
        "mock.MockFactory.__init__ = lambda self, *a, **k: before(self, pin_class=Told)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    name = Detector(onnx_file).spec.names[0]
    options = ["--source", camera.url, "--confidence", 0, "--save", tmp_path / "out.mp4", "--on-after", 1]
    view = ["--listen", "127.0.0.1:0", "--gpio", f"{name}=17", "--classes", name]
    with program(onnx_file, *options, *view, GPIOZERO_PIN_FACTORY="mock", PYTHONPATH=path) as process:
        url = address(process)
        wait_for(lambda: frames(url) > 120)
        lamp = tmp_path / "lamp"
        if lamp.exists():
            assert lamp.read_text().endswith("1")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    camera.take_away()
    assert process.returncode == 0, err
    assert lamp.exists(), err
    assert lamp.read_text().endswith("0")
    assert "frames in " in err.splitlines()[-1]
    assert "Traceback" not in err
    fps, images = read_video(tmp_path / "out.mp4")
    assert len(images) > 10
    assert 1 <= fps <= 60
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith("__")) == [
        "lamp",
        "out.mp4",
        "sitecustomize.py",
    ]


def test_one_line_with_the_address_and_quiet_then(onnx_file: Path, video: Path) -> None:
    with program(onnx_file, "--source", video, "--listen", "127.0.0.1:0", "--fps", 40) as process:
        url = address(process)
        assert b"yolo-edge" in read_url(url)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert len(err.splitlines()) == 1
    assert re.fullmatch(r"20 frames in \d+\.\d s \(\d+\.\d a second\)", err.strip())


def test_an_address_for_others_has_a_token(onnx_file: Path, video: Path) -> None:
    options = ["--source", video, "--listen", "0.0.0.0:0", "--loop"]
    with program(onnx_file, *options, "--token", "auto") as process:
        url = address(process)
        host, port, token = re.fullmatch(r"http://([^:/]+):(\d+)/\?token=([\w-]{20,})", url).groups()  # type: ignore[union-attr]
        assert host != "0.0.0.0"  # noqa: S104 - where nobody can go
        assert read_url(f"http://127.0.0.1:{port}/snapshot.jpg?token={token}").startswith(b"\xff\xd8")
    with program(onnx_file, *options, YOLO_EDGE_TOKEN="from-the-environment") as process:  # noqa: S106
        assert "token" not in address(process)  # logs are read by others


def test_a_pipe_whose_reader_has_enough(onnx_file: Path, video: Path) -> None:
    with program(onnx_file, "--source", video, "--no-view", "--jsonl", "--loop") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(30)
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 0
    assert "the reader of --jsonl went away" in err
    assert "Traceback" not in err


def test_memory(onnx_file: Path, tmp_path: Path) -> None:
    """Below 200 MB, with a viewer, on frames of a usual camera; the libraries are most of it."""
    images = [random_picture(640, 480, seed) for seed in range(10)]
    video = write_video(tmp_path / "v.avi", images, 25)
    with program(onnx_file, "--source", video, "--listen", "127.0.0.1:0", "--loop", "--fps", 0) as process:
        url = address(process)
        stop = threading.Event()

        def look() -> None:
            with open_url(f"{url}stream.mjpeg", timeout=10) as stream:  # noqa: S310 - http, as printed
                while not stop.is_set():
                    stream.read(10_000)

        viewer = threading.Thread(target=look)
        viewer.start()
        wait_for(lambda: frames(url) > 300, 60)
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        stop.set()
        viewer.join()
    assert peak is not None
    print(f"{int(peak[1]) * 1.024e-3:.0f} MB")
    assert int(peak[1]) * 1.024e-3 < 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "no such.mp4"], "no such.mp4: no such file"),
        (["--source", ""], "--source: expected a camera"),
        (["--source", "99"], "there is no such camera"),
        (["--source", "VIDEO", "--listen", "0.0.0.0:8080"], "others can reach that; add --token auto"),
        (["--source", "VIDEO", "--listen", "[::]:8080"], "others can reach that"),
        (["--source", "VIDEO", "--listen", "raspberrypi:8080"], "others can reach that"),
        (["--source", "VIDEO", "--listen", "8080"], "expected HOST:PORT"),
        (["--source", "VIDEO", "--listen", "127.0.0.1:99999"], "expected HOST:PORT"),
        (["--source", "VIDEO", "--token", "short"], "--token: expected auto, or at least 8"),
        (["--source", "VIDEO", "--fps", "-1"], "--fps -1: expected 0..1000"),
        (["--source", "VIDEO", "--every", "nan"], "--every nan: expected"),
        (["--source", "VIDEO", "--on-after", "0"], "--on-after 0: expected 1..10000"),
        (["--source", "VIDEO", "--confidence", "2"], "confidence: expected 0..1"),
        (["--source", "VIDEO", "--save", "out.gif"], "expected .avi, .mkv, .mp4"),
        (["--source", "VIDEO", "--gpio", "17"], "expected CLASS=PIN"),
        (["--source", "VIDEO", "--gpio", "unicorn=17"], "no class 'unicorn'"),
        (["--source", "VIDEO", "--gpio", "a=17", "--gpio", "b=17"], "a pin one class"),
        (["--source", "VIDEO", "--classes", "unicorn"], "no class 'unicorn'"),
        (["--source", "VIDEO", "--webhook", "ftp://x/"], "--webhook: expected http"),
        (["--source", "VIDEO", "--exec", "'"], "--exec"),
        (["--source", "VIDEO", "--exec", " "], "--exec: expected a program"),
        (["--source", "VIDEO", "--exec", "/no/such/program -x"], "--exec /no/such/program: no such program"),
        (["--source", "VIDEO", "--threads", "0"], "--threads 0: expected 1..1024"),
        (["--source", "VIDEO", "--capture-size", "1x99999999"], "--capture-size '1x99999999': expected a size"),
        (["--source", "VIDEO", "--capture-size", "big"], "expected a size"),
        (["--source", "VIDEO", "--weights", "x"], "goes with a .cfg"),
    ],
)
def test_what_is_refused(
    refuse: Callable[..., str], onnx_file: Path, video: Path, options: list[str], message: str, tmp_path: Path
) -> None:
    words = [video if word == "VIDEO" else word for word in options]
    code = 1 if words[1] == "99" else 2
    assert message in refuse("demo", onnx_file, "--listen", "127.0.0.1:0", *words, code=code)


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4"])
def test_a_source_that_cannot_be_read_is_bad_input(run: Run, onnx_file: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"neither picture nor video")
    done = run("demo", onnx_file, "--source", tmp_path / name, "--no-view")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"error: {tmp_path / name}: ")


def test_a_port_that_is_taken(refuse: Callable[..., str], onnx_file: Path, video: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refuse("demo", onnx_file, "--source", video, "--listen", f"127.0.0.1:{port}")
    assert "already in use" in message


def test_without_the_extra(
    refuse: Callable[..., str], onnx_file: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in ("starlette", "uvicorn") or name in (
            "yolo_edge.serving.gate",
            "yolo_edge.demo.server",
            "yolo_edge.serving.connections",
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert "pip install 'yolo-edge[demo]'" in refuse("demo", onnx_file, "--source", video)
    # a video to a video needs none of it
    begun = time.monotonic()
    from yolo_edge.cli import main

    assert main(["demo", str(onnx_file), "--source", str(video), "--no-view"]) == 0
    assert time.monotonic() - begun < 60
