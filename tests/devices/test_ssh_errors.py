"""Devices that ssh cannot reach, or that cannot be used: what is said, and what to do."""

from pathlib import Path

import pytest

from tests.devices.sshd import Server, configured, free_port, make_key, serve
from tests.frame.tools import find_python
from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.session import AgentMissingError, Session
from yolo_edge.devices.ssh import SshDevice
from yolo_edge.devices.ssh_errors import Destination, explain
from yolo_edge.devices.transports import open_device
from yolo_edge.ondevice.errors import InputError


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
