"""Android phones, reached with the adb program, over a cable or a network.

A phone has no Python; its shell (mksh) and toybox do what has to be done there. One shell keeps a folder of ours: when
the connection goes away, for whatever reason, it ends what we started and removes the folder.
"""

import itertools
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from yolo_edge.devices.adb_errors import explain
from yolo_edge.devices.device import MAX_TEXT, QUICK, Completed, DeviceError, quote
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.lease import Lease, Leased
from yolo_edge.devices.processes import communicate
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import not_written, printable

# what may become a word of adb's command line
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
_HOST_PORT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9a-fA-F:.]{2,45}\]):([0-9]{1,5})")

_CONNECT_SECONDS, _SERVER_SECONDS = 15.0, 20.0
_LEASE = 8  # seconds without a sign of life: a phone that left the Wi-Fi is not told that we are gone
_MARK = "yolo-edge-exit"

# programs of the phone's shell; their arguments are $0, $1, …; adbd gives each command a process group of its own
_KEEP = f"""\
d=$(mktemp -d /data/local/tmp/yolo-edge-XXXXXXXX) || exit 1
mkdir "$d/.pids"
end() {{
    for f in "$d"/.pids/*; do
        [ -f "$f" ] && read p <"$f" && kill -9 -- "-$p"
    done 2>/dev/null
    rm -rf -- "$d"
}}
trap end EXIT
trap 'exit 1' HUP INT TERM PIPE
echo "$d"
while read -t {_LEASE} x; do :; done
"""
# adb, when the connection breaks, ends as if the program had: only what says its exit code has ended by itself
_RUN = f'echo $$ >"$0"; "$@"; c=$?; rm -f "$0"; echo "{_MARK} $c" >&2; exit $c'
_STREAM = 'echo $$ >"$0"; exec "$@"'
_END = 'read p <"$0" && rm -f "$0" && kill -9 -- "-$p"'
_PLACE = 'if [ $(wc -c <"$0") -eq "$2" ] && mv -f -- "$0" "$1"; then exit 0; fi; rm -f -- "$0"; exit 1'


class AdbDevice(Leased):
    """An Android phone as a `Device`."""

    def __init__(self, name: str, entry: Entry):
        """Nothing is connected yet.

        Args:
            name: As the inventory calls it.
            entry: Of the inventory.

        Raises:
            InputError: Its address is none.
        """
        self.name, self.url = name, entry.url
        self._serial, self._over_network = parse_url(name, entry.url)
        self._folder: str | None = None
        self._lease: Lease | None = None
        self._numbers = itertools.count()

    @property
    def python(self) -> str:
        """Empty: there is none."""
        return ""

    @property
    def folder(self) -> str | None:
        """A folder of our own on it, under /data/local/tmp, removed at the end."""
        return self._folder

    def run(self, argv: Sequence[str], *, input: bytes | IO[bytes] | None = None, timeout: float = QUICK) -> Completed:  # noqa: A002
        """See `Device`."""
        stdin = subprocess.PIPE if isinstance(input, bytes) else input or subprocess.DEVNULL
        note = self._note()
        process = self._shell(["sh", "-c", _RUN, note, *argv], stdin, subprocess.PIPE, subprocess.PIPE)
        done = communicate(process, input if isinstance(input, bytes) else None, timeout)
        if done is None:
            self._end(note)
            raise DeviceError(f"{self.name}: no answer from {argv[0]} within {timeout:g} s")
        said, mark, code = done.stderr.rpartition(f"{_MARK} ".encode())
        if not mark or not code.strip().isdigit():
            raise self._lost(done.stderr)
        return Completed(int(code), done.stdout, said)

    def stream(self, argv: Sequence[str], *, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        """See `Device`."""
        command = ["sh", "-c", _STREAM, self._note(), *argv]
        return self._shell(command, subprocess.PIPE, subprocess.PIPE, errors)

    def push(self, local: Path, remote: str) -> None:
        """See `Device`."""
        try:
            size = local.stat().st_size
            local.open("rb").close()
        except OSError as error:
            raise not_written(remote, error) from error
        part = f"{remote}.part"
        done = self._adb(["push", str(local.absolute()), part], QUICK + size / 20_000)
        if done.returncode or self.run(["sh", "-c", _PLACE, part, remote, str(size)]).returncode:
            said = _text(done)
            self._check_lost(done.stdout + done.stderr)
            self.run(["rm", "-f", "--", part])
            raise DeviceError(f"{self.name}: {size / 1e6:.1f} MB cannot be written to {remote} ({_last(said)})")

    def pull(self, remote: str, local: Path) -> None:
        """See `Device`."""
        temporary = local.with_name(f".{local.name[:100]}.{os.getpid()}.tmp")
        try:
            try:
                temporary.touch()
            except OSError as error:
                raise not_written(local, error) from error
            done = self._adb(["pull", remote, str(temporary.absolute())], 3600.0)
            if done.returncode:
                self._check_lost(done.stdout + done.stderr)
                raise DeviceError(f"{self.name}: {remote} cannot be read ({_last(_text(done))})")
            try:
                temporary.replace(local)
            except OSError as error:
                raise not_written(local, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def read_text(self, path: str) -> str:
        """See `Device`."""
        done = self.run(["head", "-c", str(MAX_TEXT), path if path.startswith("/") else f"./{path}"])
        if done.returncode:
            raise DeviceError(f"{self.name}: {path} cannot be read ({_last(done.stderr.decode('utf-8', 'replace'))})")
        return done.stdout.decode("utf-8", "replace")

    def ended(self, returncode: int, stderr: str) -> DeviceError | None:
        """See `Device`: the exit code says nothing, adb's own word counts."""
        return self._lost(stderr.encode()) if self._is_lost() else None

    def _note(self) -> str:
        """A file on the phone, for the number of a process: what runs when the connection goes away is ended by it."""
        if self._folder is None or self._is_lost(0):
            raise self._lost(b"")
        return f"{self._folder}/.pids/{next(self._numbers)}"

    def _end(self, note: str) -> None:
        """End what took too long."""
        process = self._shell(["sh", "-c", _END, note], subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
        communicate(process, None, QUICK)

    def _connect(self) -> None:
        _start_server(self.name)
        if self._over_network:
            done = self._plain(["connect", self._serial], _CONNECT_SECONDS)
            if "connected to" not in _text(done):  # its exit code is 0 either way
                raise DeviceError(f"{self.name}: {self._serial}: {explain(_text(done))}")
        state = self._adb(["get-state"], _CONNECT_SECONDS)
        if state.returncode or state.stdout.strip() != b"device":
            raise DeviceError(f"{self.name}: {self._serial}: {explain(_text(state))}")
        features = self._adb(["features"], _CONNECT_SECONDS)
        if b"shell_v2" not in features.stdout.split():
            raise DeviceError(f"{self.name}: its Android is older than 7.0, and does not say how programs end")
        self._lease = Lease(lambda log: self._shell(["sh", "-c", _KEEP], subprocess.PIPE, subprocess.PIPE, log))
        self._lease.keep(f"{self.name} heartbeat", _LEASE / 4)
        folder = (self._lease.first_line(_CONNECT_SECONDS, 4096) or b"").decode("utf-8", "replace").strip()
        if not re.fullmatch(r"/data/local/tmp/yolo-edge-\w+", folder):
            self._lease.process.kill()
            self._lease.process.wait()
            said = self._lease.complaint() or folder
            raise DeviceError(f"{self.name}: no folder can be made in /data/local/tmp ({_last(said)}){_remedy(said)}")
        self._folder = folder

    def _shell(
        self, argv: Sequence[str], stdin: int | IO[bytes], stdout: int | IO[bytes], stderr: int | IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        # exec: the process that leads the group is the one that notes its number
        line = f"exec {quote(argv)}"
        return _popen(["adb", "-s", self._serial, "shell", "-T", "-e", "none", "--", line], stdin, stdout, stderr)

    def _adb(self, words: Sequence[str], seconds: float) -> Completed:
        return self._plain(["-s", self._serial, *words], seconds)

    def _plain(self, words: Sequence[str], seconds: float) -> Completed:
        process = _popen(["adb", *words], subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
        done = communicate(process, None, seconds)
        if done is None:
            raise DeviceError(f"{self.name}: no answer from adb within {seconds:.0f} s: adb kill-server, then again")
        return done

    def _check_lost(self, said: bytes) -> None:
        if self._is_lost():
            raise self._lost(said)

    def _is_lost(self, within: float = 1) -> bool:
        """Whether the connection is gone; the keeper's adb ends a moment after others."""
        return self._lease is None or self._lease.is_over(within)

    def _lost(self, said: bytes) -> DeviceError:
        text = said.decode("utf-8", "replace")
        why = f" ({_last(text)})" if text.strip() and _MARK not in text else ""
        return DeviceError(
            f"{self.name}: the connection to {self._serial} was lost{why}: check the cable or the Wi-Fi, then run the "
            "same command again"
        )


def parse_url(name: str, url: str) -> tuple[str, bool]:
    """What adb calls a phone, and whether it is reached over a network.

    Raises:
        InputError: The address is none that can be used.
    """
    rest = url.removeprefix("adb://")
    found = _HOST_PORT.fullmatch(rest)
    if found and 1 <= int(found[2]) <= 65535:
        return rest, True
    if rest == url or found or not _SERIAL.fullmatch(rest):
        raise InputError(
            f"{name}: url {url!r}: expected adb://SERIAL, of those that `adb devices` lists, or adb://HOST:PORT"
        )
    return rest, False


def _start_server(name: str) -> None:
    """Start adb's server, which outlives us, and must not hold on to our pipes."""
    with tempfile.TemporaryFile() as log:
        process = _popen(["adb", "start-server"], subprocess.DEVNULL, log, log)
        try:
            code = process.wait(_SERVER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -1
        if code:
            log.seek(0)
            raise DeviceError(f"{name}: {explain(log.read(4096).decode('utf-8', 'replace'))}")


def _popen(
    command: Sequence[str], stdin: int | IO[bytes], stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> "subprocess.Popen[bytes]":
    try:
        # a session of its own: Ctrl-C ends this process, and the end of its input ends the other side
        return subprocess.Popen(  # noqa: S603 - no shell here
            list(command), stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0, start_new_session=True
        )
    except FileNotFoundError as error:
        raise DeviceError("the program adb is missing here: apt install adb (or Android's platform-tools)") from error


def _remedy(said: str) -> str:
    if "No space left" in said:
        return ": free some space there"
    if "ermission denied" in said:
        return (
            ": this phone does not let adb's shell write there, as some that are managed do not; it can be measured by "
            "Termux, or in its browser (docs/phones.md)"
        )
    return ""


def _text(done: Completed) -> str:
    return (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return printable(lines[-1])[:300] if lines else "it says nothing"
