"""The transport, through a real sshd."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.devices.sshd import Server, running
from yolo_edge.devices import ssh
from yolo_edge.devices.device import DeviceError, quote
from yolo_edge.devices.ssh import SshDevice, parse_url
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
@settings(max_examples=60)
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


def test_ssh_config_and_jumps_count(server: Server) -> None:
    hop = f"ssh -F {server.config} -W %h:%p hop"
    server.write_config(f"ProxyCommand {hop}", "RequestTTY force", "RemoteCommand id", "ForwardX11 yes")
    with server.config.open("a") as file:
        file.write(f"Host hop\nHostName 127.0.0.1\nPort {server.port}\nIdentityFile {server.key}\n")
        file.write(f"UserKnownHostsFile {server.known}\n")
    with SshDevice("board", server.entry) as device:
        assert device.run(["echo", "there"]).stdout == b"there\n"


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


def test_host_keys_are_never_waved_through() -> None:
    source = Path(ssh.__file__).read_text() + Path(ssh.__file__).with_name("ssh_errors.py").read_text()
    assert "StrictHostKeyChecking" not in source
    assert '/dev/null"' not in source
