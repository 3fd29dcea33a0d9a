"""Connections and processes that end before their time, on a real sshd: nothing is left on the device."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.devices.sshd import Server, cut, running
from tests.support import wait_for
from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.devices.session import Session
from yolo_edge.devices.ssh import SshDevice


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_connection_that_is_lost(server: Server, onnx_file: Path, how: signal.Signals) -> None:
    """Killed, or silent as when a cable is pulled out: an error here and nothing left there, both within 10 s."""
    from yolo_edge import Detector

    stopped: list[int] = []

    def measure() -> None:
        with SshDevice("board", server.entry) as device, Session(device).connect("measuring") as agent:
            folders.append(str(device.folder))
            spec = Detector(onnx_file).spec.to_json()
            options = {"runtime": "auto", "threads": 1, "image": None, "pin": False, "fast": False}
            agent.ask("load", 60, model=str(onnx_file), spec=spec, **options)
            assert running(f"{device.folder}/agent")
            cutter.start()
            agent.ask("turn", 60, seconds=300, count=1, settle_s=0)

    def cut_later() -> None:
        time.sleep(0.5)
        stopped.extend(cut(server, how))
        moments.append(time.monotonic())

    folders: list[str] = []
    moments: list[float] = []
    cutter = threading.Thread(target=cut_later)
    with pytest.raises(DeviceError, match="the connection to board was lost: check") as caught:
        measure()
    start, (folder,) = moments[0], folders
    assert time.monotonic() - start < 15  # 10, and what the end of the session takes
    assert "\n" not in str(caught.value)
    wait_for(lambda: not running(folder))
    wait_for(lambda: not Path(folder).exists())
    if how == signal.SIGSTOP:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
    with SshDevice("board", server.entry) as again:
        assert again.run(["true"]).returncode == 0


def test_what_a_killed_coordinator_leaves(server: Server) -> None:
    script = (
        "import sys, time; from yolo_edge.devices.inventory import Entry; from yolo_edge.devices.ssh import SshDevice\n"
        "from yolo_edge.devices.session import Session\n"
        f"with SshDevice('board', Entry(url='ssh://board', python={sys.executable!r})) as device:\n"
        "    with Session(device).connect('x'):\n"
        "        print(device.folder, device._control, sep='\\n', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            folder, control = (process.stdout.readline().strip() for _ in range(2))
            assert running(f"{folder}/agent")
        finally:
            process.kill()
    wait_for(lambda: not running(folder))
    wait_for(lambda: not Path(folder).exists())
    wait_for(lambda: not server.connections())
    with scratch_folder(Path(control).parent):
        assert not Path(control).exists(), "what it had here, the next run removes"


def test_what_a_killed_keeper_left_is_removed_by_the_next(server: Server) -> None:
    stale = server.temporary / "yolo-edge-stale"
    stale.mkdir()
    (stale / "alive").touch()
    (server.temporary / "yolo-edge-not-ours").mkdir()
    with SshDevice("board", server.entry) as device, SshDevice("board", server.entry) as other:
        assert not stale.exists()
        assert device.folder is not None
        assert Path(device.folder).exists()
        assert Path(str(other.folder)).exists()
    (server.temporary / "yolo-edge-not-ours").rmdir()


def test_an_agent_ends_when_its_keeper_is_killed(server: Server) -> None:
    with SshDevice("board", server.entry) as device, Session(device).connect("x") as agent:
        (keeper,) = running(f'{sys.executable}\0-c\0"""Keeps a folder')
        os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: not running(f"{device.folder}/agent"))
        with pytest.raises(DeviceError):
            agent.ask("memory", 10)
    shutil.rmtree(str(device.folder))
