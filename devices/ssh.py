"""Devices that are reached with the OpenSSH client, so that ~/.ssh/config, keys and agents count as they do by hand.

One connection carries everything. Its own session runs `keeper` on the device: when the connection goes away, for
whatever reason, what we put there is removed and what we started there ends.
"""

import importlib.resources
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import msgspec

from yolo_edge.devices.device import MAX_TEXT, QUICK, Completed, DeviceError, quote
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.lease import Lease, Leased
from yolo_edge.devices.processes import communicate
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.devices.ssh_errors import Destination, explain
from yolo_edge.ondevice.agent.keeper import LEASE
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line, not_written, printable

CONFIG = "YOLO_EDGE_SSH_CONFIG"  # a variable: the file to use instead of ~/.ssh/config

# what may become a word of ssh's command line, beside an IPv6 address
_USER, _HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}"), re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_IPV6 = re.compile(r"[0-9a-fA-F:.]{2,45}(%[A-Za-z0-9._-]{1,15})?")

_CONNECT_SECONDS, _START_SECONDS = 10, 60.0  # to connect; to start Python on a slow board, too
_HEARTBEAT = LEASE / 4
_OPTIONS = (
    *("-o", "BatchMode=yes"),  # nobody is there to answer questions
    *("-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    *("-o", "ServerAliveInterval=2"),  # a link that is gone is noticed after 8 s
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "LogLevel=ERROR"),
    # what may be set for people who log in, and is in our way
    *("-o", "RequestTTY=no"),
    *("-o", "RemoteCommand=none"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ForwardAgent=no"),
    *("-o", "ForwardX11=no"),
    *("-o", "ControlPersist=no"),
)
_LONGEST_SOCKET = 80  # of the 108 bytes that a path may have; ssh adds 17 for a while

# each line is a program of sh, its arguments are $0, $1, …
_KEEP = 'if command -v "$0" >/dev/null 2>&1; then exec "$0" -c "$1"; fi; echo "{}"; exec cat >/dev/null'
_RUN = 'if command -v timeout >/dev/null 2>&1; then exec timeout "$@"; fi; shift; exec "$@"'
_PUSH = (
    'if cat >"$1.part" && [ $(wc -c <"$1.part") -eq "$2" ] && mv -f -- "$1.part" "$1"; then exit 0; fi; '
    'rm -f -- "$1.part"; exit 1'
)


class Hello(msgspec.Struct, frozen=True):
    """What the keeper says; empty where there is no Python.

    Attributes:
        folder: Of our own, on the device.
        python: Its version.
        executable: Its path.
        machine: The architecture of the kernel.
        bits: Of the programs: a 64-bit kernel may run a 32-bit system.
        home: The user's folder.
        environment: What `devices setup` made; None: nothing.
    """

    folder: str | None = None
    python: tuple[int, int, int] | None = None
    executable: str | None = None
    machine: str | None = None
    bits: int | None = None
    home: str | None = None
    environment: str | None = None


class SshDevice(Leased):
    """A machine with an SSH server as a `Device`."""

    def __init__(self, name: str, entry: Entry):
        """Nothing is connected yet.

        Args:
            name: As the inventory calls it.
            entry: Of the inventory.

        Attributes:
            hello: What its keeper said, once it is connected.

        Raises:
            InputError: Its address is none.
        """
        self.name, self.url, self._entry = name, entry.url, entry
        self._to = parse_url(name, entry.url)
        self.hello = Hello()
        self._control: Path | None = None
        self._stack = ExitStack()
        self._lease: Lease | None = None

    @property
    def python(self) -> str:
        """The interpreter that is to be used there."""
        if self.hello.environment is not None:
            return f"{self.hello.environment}/bin/python"
        return self._entry.python or "python3"

    @property
    def folder(self) -> str | None:
        """A folder of our own on it, removed at the end; None where it has no Python to keep one."""
        return self.hello.folder

    def run(self, argv: Sequence[str], *, input: bytes | IO[bytes] | None = None, timeout: float = QUICK) -> Completed:  # noqa: A002
        """See `Device`."""
        command = ["sh", "-c", _RUN, "sh", str(max(round(timeout), 1)), *argv]
        done = self._finish(command, input, timeout + QUICK)
        if done.returncode == 124:  # says timeout
            raise DeviceError(f"{self.name}: no answer from {argv[0]} within {timeout:g} s")
        return done

    def stream(self, argv: Sequence[str], *, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        """See `Device`."""
        return self._start(argv, subprocess.PIPE, subprocess.PIPE, errors)

    def push(self, local: Path, remote: str) -> None:
        """See `Device`."""
        try:
            size = local.stat().st_size
            file = local.open("rb")
        except OSError as error:
            raise not_written(remote, error) from error
        with file:
            done = self._finish(["sh", "-c", _PUSH, "sh", remote, str(size)], file, QUICK + size / 20_000)
        if done.returncode:
            raise self._failed(done, f"{size / 1e6:.1f} MB cannot be written to {remote}")

    def pull(self, remote: str, local: Path) -> None:
        """See `Device`."""
        with tempfile.TemporaryFile() as file:
            process = self._start(["cat", "--", remote], subprocess.DEVNULL, file)
            done = self._wait(process, None, 3600.0)
            if done.returncode:
                raise self._failed(done, f"{remote} cannot be read")
            file.seek(0)
            temporary = local.with_name(f".{local.name[:100]}.{os.getpid()}.tmp")
            try:
                with temporary.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                temporary.replace(local)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise not_written(local, error) from error

    def read_text(self, path: str) -> str:
        """See `Device`."""
        done = self.run(["head", "-c", str(MAX_TEXT), "--", path])
        if done.returncode:
            raise self._failed(done, f"{path} cannot be read")
        return done.stdout.decode("utf-8", "replace")

    def forward(self, host: str, port: int, there: int) -> None:
        """Let a port of this machine lead to one of the device's loopback, until the connection ends.

        Args:
            host: A name or an address of this machine.
            port: Of this machine.
            there: Of the device.

        Raises:
            DeviceError: ssh does not listen there, or the connection is gone.
        """
        if self._is_lost(0):
            raise self._lost()
        where = f"[{host}]" if ":" in host else host
        # no configuration: its own forwardings would be asked for once more
        command = ["ssh", "-F", os.devnull, "-S", f"{self._control}/s", "-O", "forward"]
        command += ["-L", f"{where}:{port}:127.0.0.1:{there}", *self._to.words]
        process = subprocess.Popen(  # noqa: S603 - no shell here
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        done = communicate(process, None, QUICK)
        if done is None or done.returncode:
            lines = (b"" if done is None else done.stderr).decode("utf-8", "replace").strip().splitlines()
            said = printable(lines[-1])[:300] if lines else "it says nothing"
            raise DeviceError(f"{self.name}: ssh does not forward port {port} of {host} ({said})")

    def ended(self, returncode: int, stderr: str) -> DeviceError | None:
        """See `Device`: ssh ends with 255 when the connection does, and where a program was killed."""
        if returncode != 255 or not self._is_lost():
            return None
        return self._lost()

    def _connect(self) -> None:
        self._control = self._stack.enter_context(scratch_folder(_short_parent()))
        source = importlib.resources.files("yolo_edge.ondevice.agent").joinpath("keeper.py").read_text("utf-8")
        keep = ["sh", "-c", _KEEP, self._entry.python or "python3", source]
        lease = self._lease = Lease(lambda log: self._ssh(["-M"], keep, subprocess.PIPE, subprocess.PIPE, log))
        line = lease.first_line(_START_SECONDS, 1 << 16)
        if line is None:
            lease.process.kill()
            raise DeviceError(f"{self.name}: connected, and no answer within {_START_SECONDS:.0f} s: is it busy?")
        if not line:
            raise DeviceError(f"{self.name}: {self._why(lease)}")
        try:
            self.hello = msgspec.json.decode(line, type=Hello)
        except msgspec.DecodeError as error:
            said = printable(repr(line[:80]))
            raise DeviceError(
                f"{self.name}: {said} instead of an answer: its login shell has to be a POSIX one, and ~/.bashrc "
                f"silent where nobody is at a terminal ({first_line(error)})"
            ) from error
        lease.keep(f"{self.name} heartbeat", _HEARTBEAT)

    def _why(self, lease: Lease) -> str:
        """What ssh, or what runs on the device, complains of."""
        code = lease.process.wait(_CONNECT_SECONDS)
        complaint = lease.complaint()
        if "No space left on device" in complaint:
            return "its disk is full, and no temporary folder can be made: free some space there"
        if code != 255:
            lines = complaint.strip().splitlines() or ["it says nothing"]
            return f"{self._entry.python or 'python3'} fails there: {printable(lines[-1])[:300]}"
        return explain(complaint, self._to)

    def _close(self) -> None:
        super()._close()
        self._stack.close()

    def _ssh(
        self,
        options: Sequence[str],
        argv: Sequence[str],
        stdin: int | IO[bytes],
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
    ) -> "subprocess.Popen[bytes]":
        config = os.environ.get(CONFIG)
        command = ["ssh", *(["-F", config] if config else []), *_OPTIONS, "-S", f"{self._control}/s", *options]
        try:
            # a session of its own: Ctrl-C ends this process, and the end of its input ends the other side
            return subprocess.Popen(  # noqa: S603 - no shell here
                [*command, *self._to.words, quote(argv)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise DeviceError("the program ssh is missing here: apt install openssh-client") from error

    def _start(
        self,
        argv: Sequence[str],
        stdin: int | IO[bytes],
        stdout: int | IO[bytes],
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> "subprocess.Popen[bytes]":
        if self._is_lost(0):
            raise self._lost()
        return self._ssh(["-o", "ControlMaster=no"], argv, stdin, stdout, stderr)

    def _finish(self, argv: Sequence[str], given: bytes | IO[bytes] | None, seconds: float) -> Completed:
        stdin = subprocess.PIPE if isinstance(given, bytes) else given or subprocess.DEVNULL
        process = self._start(argv, stdin, subprocess.PIPE)
        return self._wait(process, given if isinstance(given, bytes) else None, seconds)

    def _wait(self, process: "subprocess.Popen[bytes]", given: bytes | None, seconds: float) -> Completed:
        done = communicate(process, given, seconds)
        if done is None:
            raise DeviceError(f"{self.name}: no answer within {seconds:.0f} s: is it busy?")
        if done.returncode == 255 and self._is_lost():
            raise self._lost()
        return done

    def _is_lost(self, within: float = 2) -> bool:
        """Whether the connection is gone; it ends a moment after its parts."""
        return self._lease is None or self._lease.is_over(within)

    def _lost(self) -> DeviceError:
        return DeviceError(
            f"{self.name}: the connection to {self._to.host} was lost: check its power and the network, "
            "then run the same command again"
        )

    def _failed(self, done: Completed, what: str) -> DeviceError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        said = printable(lines[-1])[:300]
        remedy = ": free some space there" if "No space left" in said or "quota" in said else ""
        return DeviceError(f"{self.name}: {what} ({said}){remedy}")


def parse_url(name: str, url: str) -> Destination:
    """Where an address of a device leads.

    Raises:
        InputError: It is none that can be used.
    """
    expected = "expected ssh://[USER@]HOST[:PORT], such as ssh://pi@raspberrypi.local"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{name}: url {url!r}: {expected} ({first_line(error)})") from error
    if parts.password is not None:
        raise InputError(f"{name}: url: has a password in it; keys are used: ssh-copy-id puts one on the device")
    # not parts.hostname, which is in lower case: hosts of ~/.ssh/config keep theirs
    host, user = re.sub(r":\d*$|[][]", "", parts.netloc.rpartition("@")[2]), parts.username
    known = _HOST.fullmatch(host) or (":" in host and _IPV6.fullmatch(host))
    if not known or port == 0 or (user is not None and not _USER.fullmatch(user)) or not url.isprintable():
        raise InputError(f"{name}: url {url!r}: {expected}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InputError(f"{name}: url {url!r}: {expected}, and nothing behind it")
    return Destination(host, user, port)


def _short_parent() -> Path:
    """Where a private folder may be for a socket, whose path has to be short."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - made private there
        if parent and Path(parent).is_absolute() and len(parent) < _LONGEST_SOCKET - 20 and os.access(parent, os.W_OK):
            return Path(parent)
    raise DeviceError("no folder with a short name for a socket: set XDG_RUNTIME_DIR or TMPDIR to one")
