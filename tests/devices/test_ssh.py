"""The transport, through a real sshd."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.devices.sshd import Server, configured, free_port, make_key, serve
from tests.frame.tools import find_python
from yolo_edge.devices import ssh
from yolo_edge.devices.device import DeviceError, quote
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.session import AgentMissingError, Session
from yolo_edge.devices.ssh import SshDevice, parse_url
from yolo_edge.devices.ssh_errors import Destination, explain
from yolo_edge.devices.transports import open_device
from yolo_edge.ondevice.errors import InputError

HOSTILE = [
    "",
    " ",
    "a b",
    "-rf",
    "--",
    "$HOME",
    "`id`",
    "$(id)",
    "a;id",
    "a&b|c>d<e",
    "'",
    '"',
    "\\",
    "\\'",
    "a\nb",
    "a\tb",
    "*",
    "~root",
    "!x",
    "#x",
    "{a,b}",
    "é\u202e☃",
    "\udcff",
]


@pytest.fixture
def device(server: Server) -> SshDevice:
    return SshDevice("board", server.entry)


def test_programs_run_with_any_arguments(device: SshDevice) -> None:
    show = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(os.fsencode(a) for a in sys.argv[1:]))"
    with device:
        done = device.run([sys.executable, "-c", show, *HOSTILE])
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.split(b"\0") == [os.fsencode(word) for word in HOSTILE]
        assert device.run(["cat"], input=b"\0\n\xff" * 100_000).stdout == b"\0\n\xff" * 100_000
        assert device.run(["sh", "-c", "echo out; echo err >&2; exit 7"]).returncode == 7
        assert device.run(["sh", "-c", "exit 255"]).returncode == 255
        assert device.run(["/no/such/program"]).returncode in (126, 127)


@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=4)
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_shell_makes_the_same_arguments_of_a_quoted_line(words: list[str]) -> None:
    line = quote(["printf", "%s\\0", *words])
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words or [""])


def test_arguments_that_no_program_can_have() -> None:
    with pytest.raises(DeviceError, match="NUL"):
        quote(["echo", "a\0b"])


@pytest.mark.parametrize("name", ["plain", "a b", "-n", "$(touch x)", "'\"\\", "new\nline", "é☃"])
def test_files_go_there_and_back(device: SshDevice, tmp_path: Path, name: str) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "here").write_bytes(data)
    with device:
        there = f"{device.folder}/{name}"
        device.push(tmp_path / "here", there)
        assert Path(there).read_bytes() == data
        device.pull(there, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        (tmp_path / "text").write_text("12\n")
        device.push(tmp_path / "text", there)
        assert device.read_text(there) == "12\n"
        assert sorted(path.name for path in Path(str(device.folder)).iterdir()) == sorted(["alive", name])


def test_files_that_cannot_be_read_or_written(device: SshDevice, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    with device:
        with pytest.raises(DeviceError, match=r"board: /no/such/file cannot be read .*No such file"):
            device.read_text("/no/such/file")
        with pytest.raises(DeviceError, match=r"board: /no/such/file cannot be read .*No such file"):
            device.pull("/no/such/file", tmp_path / "there")
        with pytest.raises(DeviceError, match="cannot be written to /no/such/folder/x"):
            device.push(tmp_path / "here", "/no/such/folder/x")
        with pytest.raises(InputError, match="cannot be written"):
            device.pull("/etc/hostname", tmp_path / "no" / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


def test_a_full_disk(device: SshDevice, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (tmp_path / "large").write_bytes(bytes(3_000_000))
        with device, pytest.raises(DeviceError, match=r"3\.0 MB cannot be written .*No space left.*free some space"):
            device.push(tmp_path / "large", f"{small}/file")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_hangs_is_ended_there_too(device: SshDevice) -> None:
    with device:
        with pytest.raises(DeviceError, match="no answer from sleep within 1 s"):
            device.run(["sleep", "987"], timeout=1)
        assert not running("sleep\x00987")


def test_output_without_an_end(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.devices.processes.MAX_OUTPUT", 1 << 20)
    with device, pytest.raises(DeviceError, match="no answer"):
        device.run(["yes"], timeout=20)


def test_more_programs_at_a_time_than_a_connection_has_room_for(device: SshDevice, tmp_path: Path) -> None:
    with device, (tmp_path / "log").open("w+b") as log:
        streams = [device.stream(["cat"], errors=log) for _ in range(12)]
        for number, stream in enumerate(streams):
            assert stream.stdin is not None
            stream.stdin.write(b"%d" % number)
            stream.stdin.close()
        for number, stream in enumerate(streams):
            assert stream.stdout is not None
            assert stream.stdout.read() == b"%d" % number
            assert stream.wait(20) == 0
            stream.stdout.close()


def refusal(entry: Entry) -> str:
    with pytest.raises(DeviceError) as caught, SshDevice("board", entry):
        pass
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_a_host_key_that_is_not_known(server: Server, tmp_path: Path) -> None:
    server.write_config(known=tmp_path / "empty")
    assert "not known yet: run `ssh board` once, and compare the fingerprint" in refusal(server.entry)
    assert not (tmp_path / "empty").exists()


def test_a_host_key_that_is_another(server: Server, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    server.write_config(known=tmp_path / "known")
    text = refusal(server.entry)
    assert "is not the one that is known" in text
    assert "ssh-keygen -" in text
    assert f"[127.0.0.1]:{server.port}" in text


def test_a_key_that_is_not_let_in(server: Server, tmp_path: Path) -> None:
    server.write_config(key=make_key(tmp_path / "stranger"))
    assert "does not let us in (publickey): put a key there with `ssh-copy-id board`" in refusal(server.entry)


def test_nothing_listens(server: Server) -> None:
    server.write_config(port=free_port())
    assert "nothing answers on port 22 of board: is its SSH server on?" in refusal(server.entry)


def test_no_such_host(server: Server) -> None:
    assert "there is no host nowhere.invalid" in refusal(Entry(url="ssh://nowhere.invalid"))


def test_no_ssh_here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "apt install openssh-client" in refusal(server.entry)


def test_no_python_there(server: Server, tmp_path: Path) -> None:
    with SshDevice("board", Entry(url="ssh://board", python="python3.99")) as device:
        assert device.folder is None
        assert device.read_text("/proc/sys/kernel/ostype") == "Linux\n"
        with pytest.raises(AgentMissingError, match=r"there is no python3\.99 there: .*--python PATH"):
            Session(device)


def test_a_python_that_is_too_old(server: Server) -> None:
    python = find_python("3.6", "3.7")
    if python is None:
        pytest.skip("no Python 3.6 or 3.7: neither on PATH nor one of pyenv's")
    with (
        SshDevice("board", Entry(url="ssh://board", python=str(python))) as device,
        pytest.raises(AgentMissingError, match=r"its Python 3\.[67]\.\d+ is too old: the agent needs 3\.8: install"),
    ):
        Session(device)


def test_an_account_that_talks(tmp_path: Path) -> None:
    with serve(tmp_path, "ForceCommand echo welcome; cat") as server, configured(server):
        assert "'welcome" in refusal(server.entry)


def test_ssh_config_and_jumps_count(server: Server) -> None:
    hop = f"ssh -F {server.config} -W %h:%p hop"
    server.write_config(f"ProxyCommand {hop}", "RequestTTY force", "RemoteCommand id", "ForwardX11 yes")
    with server.config.open("a") as file:
        file.write(f"Host hop\nHostName 127.0.0.1\nPort {server.port}\nIdentityFile {server.key}\n")
        file.write(f"UserKnownHostsFile {server.known}\n")
    with SshDevice("board", server.entry) as device:
        assert device.run(["echo", "there"]).stdout == b"there\n"


def running(words: str) -> list[int]:
    """Processes whose command line holds these words, which have a NUL between."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def gone(condition: Callable[[], Sequence[object] | bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while condition() and time.monotonic() < end:
        time.sleep(0.1)
    return not condition()


def cut(server: Server, how: signal.Signals) -> list[int]:
    connections = server.connections()
    assert connections
    for pid in connections:
        os.kill(pid, how)
    return connections


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
    assert gone(lambda: running(folder))
    assert gone(lambda: Path(folder).exists())
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
        "        print(device.folder, flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = process.stdout.readline().strip()
    assert running(f"{folder}/agent")
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(lambda: running(folder))
    assert gone(lambda: Path(folder).exists())
    assert gone(server.connections)


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
        assert gone(lambda: running(f"{device.folder}/agent"))
        with pytest.raises(DeviceError):
            agent.ask("memory", 10)
    shutil.rmtree(str(device.folder))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "board",
        "pi@board",
        "http://board",
        "local:",
        "ssh://",
        "ssh:///x",
        "ssh://-oProxyCommand=id",
        "ssh://-oProxyCommand=id@board",
        "ssh://pi@-board",
        "ssh://a b",
        "ssh://board:0",
        "ssh://board:99999",
        "ssh://board:x",
        "ssh://board/path",
        "ssh://board?x",
        "ssh://board#x",
        "ssh://pi:secret@board",
        "ssh://$(id)",
        "ssh://board\n",
        "ssh://[::1",
        "ssh://[zz::]",
        "ssh://bo\x00ard",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputError, match=r"board: url"):
        open_device("board", Entry(url=url))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://board", ["--", "board"]),
        ("ssh://pi@Board.local/", ["--", "pi@Board.local"]),
        ("ssh://pi@10.0.0.7:2222", ["-p", "2222", "--", "pi@10.0.0.7"]),
        ("ssh://[fe80::1%eth0]:22", ["-p", "22", "--", "fe80::1%eth0"]),
    ],
)
def test_addresses_become_words_of_ssh(url: str, words: list[str]) -> None:
    assert parse_url("board", url).words == words


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", "cannot be reached .* is it on"),
        ("ssh: connect to host 10.0.0.9 port 22: No route to host", "cannot be reached .* is it on"),
        (
            "/root/.ssh/config: line 3: Bad configuration option: foo",
            "its configuration: Bad configuration option: foo",
        ),
        ("kex_exchange_identification: Connection closed by remote host", "the log of its SSH server"),
        ("Received disconnect from 10.0.0.9: Too many authentication failures", "does not let pi in .*ssh-copy-id"),
        ("something\nnobody \x1b[31mknows", r"fails: nobody \?\[31mknows"),
        ("", "fails: it says nothing"),
    ],
)
def test_what_ssh_complains_of(complaint: str, said: str) -> None:
    import re

    assert re.search(said, explain(complaint, Destination("board", "pi", None)))


def test_host_keys_are_never_waved_through() -> None:
    source = Path(ssh.__file__).read_text() + Path(ssh.__file__).with_name("ssh_errors.py").read_text()
    assert "StrictHostKeyChecking" not in source
    assert '/dev/null"' not in source
