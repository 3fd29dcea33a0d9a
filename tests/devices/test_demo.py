"""`yolo-edge demo --device`, through a real sshd: the board is this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
from websockets.sync.client import connect

from tests.cli.conftest import (
    Run,
    refuse,  # noqa: F401 - a fixture
)
from tests.demo.serving import next_frame
from tests.demo.support import read_video, write_video
from tests.devices.sshd import Server, configured, cut, is_sshd, running, serve
from tests.frame.tools import find_python
from tests.support import random_picture, wait_for
from yolo_edge import Detector
from yolo_edge.demo.link import Link
from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.inventory import Entry, add_device
from yolo_edge.devices.local import LocalDevice

# gpiozero's mock pins, whose states another process sees in a file
_LAMP = """\
import gpiozero.pins.mock as mock
class Told(mock.MockPin):
    def _change_state(self, value):
        changed = super()._change_state(value)
        if changed: open({lamp!r}, "a").write(str(int(value)))
        return changed
mock.MockFactory.__init__.__kwdefaults__ = None
before = mock.MockFactory.__init__
mock.MockFactory.__init__ = lambda self, *a, **k: before(self, pin_class=Told)
"""


@pytest.fixture
def board(server: Server, tmp_path: Path) -> Iterator[Path]:
    """The device `board` of an inventory, whose Python has mock pins; gives the inventory."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(_LAMP.format(lamp=str(tmp_path / "lamp")))
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexport GPIOZERO_PIN_FACTORY=mock PYTHONPATH={tmp_path / "site"}\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    inventory = tmp_path / "devices.toml"
    add_device("board", Entry(url="ssh://board", python=str(python)), inventory)
    yield inventory
    wait_for(lambda: not running("yolo_edge_demo.py"))
    wait_for(lambda: not list(server.temporary.iterdir()))


@pytest.fixture
def video(server: Server) -> Iterator[Path]:
    """On the board, in its user's folder."""
    path = write_video(server.home / "v.avi", [random_picture(96, 64, seed) for seed in range(20)], 10)
    yield path
    path.unlink()


@contextmanager
def program(inventory: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "yolo_edge", "demo", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--device", "board", "--inventory", str(inventory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Port and token of the page."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        match = re.match(r"Look at http://127\.0\.0\.1:(\d+)/\?token=([\w-]{20,}) ", line)
        if match:
            return int(match[1]), match[2]
    raise AssertionError(said)


def read(port: int, path: str, token: str = "") -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{path}", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http
        data: bytes = answer.read()
        return data


def frames(port: int, token: str) -> int:
    return int(json.loads(read(port, "status.json", token)).get("frames", 0))


def listens(port: int) -> bool:
    try:
        read(port, "")
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_a_page_here_of_a_demo_there(server: Server, board: Path, onnx_file: Path, video: Path, tmp_path: Path) -> None:
    """Ctrl-C ends it there: the lamp is off, the video complete and here, the port closed."""
    name, target = Detector(onnx_file).spec.names[0], tmp_path / "out.mp4"
    options = ["--loop", "--fps", 40, "--confidence", 0, "--on-after", 1, "--classes", name, "--gpio", f"{name}=17"]
    view = ["--source", video, "--listen", "127.0.0.1:0", "--save", target]
    with program(board, onnx_file, *options, *view) as process:
        port, token = address(process)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            read(port, "status.json")
        assert b"yolo-edge" in read(port, "", token)
        origin = {"Authorization": f"Bearer {token}", "Origin": f"http://127.0.0.1:{port}"}
        with connect(f"ws://127.0.0.1:{port}/live", additional_headers=origin, max_size=1 << 24) as viewer:
            header, image = next_frame(viewer)
        assert image.shape == (64, 96, 3)
        assert header["found"][0]["boxes"]
        wait_for(lambda: frames(port, token) > 40, 60)
        status = json.loads(read(port, "status.json", token))
        assert 0 < status["memory_mb"] < 200
        assert (tmp_path / "lamp").read_text().endswith("1")
        (there,) = {pid for pid in running("yolo_edge_demo.py") if not is_sshd(pid)} - set(running("ssh\0"))
        assert token not in Path(f"/proc/{there}/cmdline").read_text()  # others see that
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert re.search(rf"\d+ frames in {target}; 1 requests refused$", err.strip()), err
    assert (tmp_path / "lamp").read_text().endswith("0")
    fps, images = read_video(target)
    assert fps == pytest.approx(40)
    assert len(images) > 30
    assert not listens(port)
    assert list(server.home.iterdir()) == [video]


def test_lines_of_a_file_are_those_of_this_machine(
    run: Run,
    board: Path,
    onnx_file: Path,
    tflite_file: Path,
    video: Path,
) -> None:
    for model in (onnx_file, tflite_file):
        options = ["--no-view", "--jsonl", "--confidence", 0.05, "--threads", 1]
        here = run("demo", model, "--source", video, *options)
        there = run("demo", model, "--source", video, *options, "--device", "board", "--inventory", board)
        assert (here.code, there.code) == (0, 0), there.err
        one, other = ([json.loads(line) for line in result.out.splitlines()] for result in (here, there))
        assert len(one) == 20
        keys = ("frame", "model", "width", "height", "detections")
        assert [[line[key] for key in keys] for line in one] == [[line[key] for key in keys] for line in other]
        assert re.search(r"^20 frames in ", there.err.splitlines()[-1])


def test_a_pipe_whose_reader_has_enough(board: Path, onnx_file: Path, video: Path) -> None:
    with program(board, onnx_file, "--source", video, "--no-view", "--jsonl", "--loop") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(60)
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert "the reader of --jsonl went away\nnothing is left to do\n" in err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_connection_that_is_lost(
    server: Server, board: Path, onnx_file: Path, video: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """The demo ends there as it should: the lamp is off, what was recorded is complete and stays."""
    name = Detector(onnx_file).spec.names[0]
    options = ["--loop", "--fps", 40, "--confidence", 0, "--on-after", 1, "--gpio", f"{name}=17"]
    view = ["--source", video, "--listen", "127.0.0.1:0", "--save", tmp_path / "out.avi"]
    with program(board, onnx_file, *options, *view) as process:
        port, token = address(process)
        wait_for(lambda: frames(port, token) > 40, 60)
        stopped = cut(server, how)
        _, err = process.communicate(timeout=60)
    if how == signal.SIGSTOP:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == 1, err
    last = err.splitlines()[-1]
    assert "error: board: the connection to board was lost: check its power" in last
    match = re.search(r"what was recorded is kept there: (\S+\.avi)$", last)
    assert match is not None, last
    kept = Path(match[1])
    wait_for(kept.exists, 60)
    assert len(read_video(kept)[1]) > 20
    wait_for(lambda: (tmp_path / "lamp").read_text().endswith("0"), 60)
    assert not (tmp_path / "out.avi").exists()
    wait_for(lambda: not running("yolo_edge_demo.py"), 60)
    shutil.rmtree(server.home / ".local")


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--source", "no such.mp4"], "board: no such.mp4: no such file", 2),
        (["--source", "99"], "board: camera 99: there is no such camera", 1),
        (["--source", "VIDEO", "--exec", " "], "board: --exec: expected a program", 2),
        (["--source", "VIDEO", "--meter", "pmic"], "board: .*no vcgencmd", 1),
        (["--source", "VIDEO", "--gpio", "unicorn=17"], "no class 'unicorn'", 2),
        (["--source", "VIDEO", "--classes", "unicorn"], "no class 'unicorn'", 2),
        (["--source", "VIDEO", "--save", "out.gif"], "expected .avi, .mkv, .mp4", 2),
        (["--source", "VIDEO", "--listen", "0.0.0.0:0"], "others can reach that; add --token auto", 2),
    ],
)
def test_what_is_refused(
    run: Run, board: Path, onnx_file: Path, video: Path, options: list[str], message: str, code: int
) -> None:
    place = ["--listen", "127.0.0.1:0", "--device", "board", "--inventory", board]
    words = [video if word == "VIDEO" else word for word in options]
    result = run("demo", onnx_file, *place, *words)
    assert result.code == code, result.err
    assert re.search(f"^error: .*{message}", result.err.splitlines()[-1]), result.err


def test_a_port_that_is_taken(refuse: Callable[..., str], board: Path, onnx_file: Path) -> None:  # noqa: F811
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = ["--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--device", "board", "--inventory", board]
        assert "already in use" in refuse("demo", onnx_file, "--source", "scenes", *place)


def test_a_phone(refuse: Callable[..., str], onnx_file: Path, tmp_path: Path) -> None:  # noqa: F811
    inventory = tmp_path / "devices.toml"
    add_device("phone", Entry(url="adb://R58M123"), inventory)
    place = ["--device", "phone", "--inventory", inventory]
    message = refuse("demo", onnx_file, "--source", "scenes", "--listen", "127.0.0.1:0", *place, code=1)
    assert "phone: a demo needs Python there, and adb reaches none" in message
    assert "Termux" in message


def test_a_board_without_what_the_page_needs(run: Run, board: Path, onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "site/starlette.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')"
    )
    place = ["--listen", "127.0.0.1:0", "--device", "board", "--inventory", board]
    result = run("demo", onnx_file, "--source", "scenes", *place)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("error: board: starlette does not load there")
    assert result.err.splitlines()[-1].endswith("run: yolo-edge devices setup board")


@pytest.mark.parametrize("command", ["demo", "detect"])
def test_a_board_without_the_runtime(run: Run, board: Path, onnx_file: Path, tmp_path: Path, command: str) -> None:
    """What it says is for the board, where pip's line is of no use, and names what brings this runtime."""
    (tmp_path / "site/openvino.py").write_text("raise ImportError('not here')")
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), random_picture(64, 64, 1))
    what = ["--source", picture, "--no-view", "--save", tmp_path / "a.mp4"] if command == "demo" else [picture]
    result = run(command, onnx_file, *what, "--runtime", "openvino", "--device", "board", "--inventory", board)
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last.startswith("error: board: openvino ")
    assert last.endswith("run: yolo-edge devices setup board --runtime onnxruntime,tflite,openvino")
    assert "pip install" not in last


def test_a_python_that_is_too_old(run: Run, server: Server, onnx_file: Path, tmp_path: Path) -> None:
    python = find_python("3.8", "3.9")
    if python is None:
        pytest.skip("no Python 3.8 or 3.9: neither on PATH nor one of pyenv's")
    add_device("board", Entry(url="ssh://board", python=str(python)), tmp_path / "devices.toml")
    place = ["--listen", "127.0.0.1:0", "--device", "board", "--inventory", tmp_path / "devices.toml"]
    result = run("demo", onnx_file, "--source", "scenes", *place)
    assert result.code == 1
    assert re.search(r"board: its Python is 3\.[89]\.\d+, a demo needs 3\.10: install", result.err)


def test_a_server_that_forwards_no_ports(run: Run, onnx_file: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "devices.toml"
    add_device("board", Entry(url="ssh://board", python=sys.executable), inventory)
    with serve(tmp_path, "AllowTcpForwarding no") as server, configured(server):
        place = ["--device", "board", "--inventory", inventory]
        result = run("demo", onnx_file, "--source", "scenes", "--listen", "127.0.0.1:0", *place)
        assert result.code == 1
        assert "board: the page cannot be reached through ssh" in result.err
        assert "AllowTcpForwarding" in result.err
        wait_for(lambda: not running("yolo_edge_demo.py"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("hello", "says what no demo says: b'hello'"),
        ("[]", "says what no demo says"),
        ("[" * 100_000, "says what no demo says"),
        ('{"note": "' + "x" * (5 << 20) + '"}', "says what no demo says"),
        ("", "the demo ended there, with exit code 3: oh dear"),
    ],
)
def test_what_is_no_demo(said: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "said").write_text(f"{said}\n" if said else "")
    script = f"cat {tmp_path}/said; echo 'oh dear' >&2; exit 3"
    with LocalDevice("board") as device:
        link = Link(device, ["sh", "-c", script])
        try:
            with pytest.raises(DeviceError, match=message) as caught:
                wait_for(link.next)
        finally:
            link.close()
    assert len(str(caught.value)) < 400
