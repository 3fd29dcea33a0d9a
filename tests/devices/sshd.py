"""A real SSH server on this machine, with keys and settings of its own: a device that costs nothing."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import skip
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.ssh import CONFIG


def find_sshd() -> str:
    """The server; where there is none the test skips and says so, in CI that is a failure."""
    found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
    if found is None:
        skip("no sshd: apt install openssh-server")
    return found


@dataclass
class Server:
    """What a test may change: `config` is ssh's, `known` its known hosts; `temporary` holds what sessions leave."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"
    temporary: Path
    home: Path
    config: Path
    known: Path
    key: Path
    entry: Entry = field(init=False)

    def __post_init__(self) -> None:
        self.entry = Entry(url="ssh://board", python=sys.executable)

    def write_config(self, *lines: str, known: Path | None = None, key: Path | None = None, port: int = 0) -> None:
        """~/.ssh/config, as ssh reads it: the host `board`, and more lines for it."""
        text = ["Host board", "HostName 127.0.0.1", f"Port {port or self.port}", f"IdentityFile {key or self.key}"]
        text += ["IdentitiesOnly yes", f"UserKnownHostsFile {known or self.known}", *lines]
        self.config.write_text("\n".join(text) + "\n")

    def connections(self) -> list[int]:
        """The processes of the server that serve someone."""
        first = children_of(self.process.pid)
        return [pid for pid in [*first, *(child for one in first for child in children_of(one))] if is_sshd(pid)]


def is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@contextmanager
def serve(folder: Path, *settings: str) -> Iterator[Server]:
    """A server, and ssh told of it."""
    program = find_sshd()
    port = free_port()
    temporary, home = folder / "device tmp", folder / "home"
    temporary.mkdir()
    home.mkdir()
    host, key = make_key(folder / "host"), make_key(folder / "id")
    (folder / "authorized").write_text(key.with_suffix(".pub").read_text())
    (folder / "sshd_config").write_text(
        "\n".join(
            [
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {host}",
                "PidFile none",
                f"AuthorizedKeysFile {folder}/authorized",
                "StrictModes no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "UsePAM no",
                f'SetEnv "TMPDIR={temporary}" HOME={home}',
                *settings,
            ]
        )
        + "\n"
    )
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{port} {host.with_suffix('.pub').read_text()}")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where its unprivileged part lives
    process = subprocess.Popen(
        [program, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port, process)
        server = Server(port, folder, process, temporary, home, folder / "ssh_config", known, key)
        server.write_config()
        yield server
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the SSH server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the SSH server does not listen")


@contextmanager
def configured(server: Server) -> Iterator[None]:
    """`ssh` of this process reads the server's configuration."""
    before = os.environ.get(CONFIG)
    os.environ[CONFIG] = str(server.config)
    try:
        yield
    finally:
        os.environ.pop(CONFIG)
        if before is not None:
            os.environ[CONFIG] = before


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


def cut(server: Server, how: signal.Signals) -> list[int]:
    connections = server.connections()
    assert connections
    for pid in connections:
        os.kill(pid, how)
    return connections
