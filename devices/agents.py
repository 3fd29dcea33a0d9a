"""An agent on the machine that is measured, as a process of this one: it is asked, and answers.

Whatever starts a process whose two streams lead to an agent will do: an interpreter on this machine, or a program that
connects to another.
"""

import codecs
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from yolo_edge.ondevice.agent.server import PROTOCOL
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable

MAX_ANSWER = 256 << 20  # bytes: more is none that an agent of ours gives

_GRACE = 5.0  # seconds to end by itself


class AgentError(YoloEdgeError):
    """An agent ended, hangs, or answers something else."""


def local_command() -> list[str]:
    """The command that starts an agent on this machine, with the interpreter and the packages of this process."""
    return [sys.executable, "-m", "yolo_edge.ondevice.agent"]


def _own_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)}  # noqa: PTH100


class AgentProcess:
    """An agent that runs, and the way to ask it. A context manager: leaving it ends the process."""

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        start_seconds: float = 120,
    ):
        """Start it.

        Args:
            command: Its program and arguments.
            name: What it is to a person, for messages.
            environment: Its variables; None: those of this process, with the places that it imports from.
            start_seconds: How long it may take to answer for the first time.

        Attributes:
            host: What the machine says about itself.

        Raises:
            AgentError: It cannot be started, or is of another version.
        """
        self._name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._rest = b""
        try:
            # a session of its own: Ctrl-C ends this process, and the end of its input ends the agent
            self._process = subprocess.Popen(  # noqa: S603 - no shell
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
                start_new_session=True,
                cwd="/",  # Python imports from the current folder first: what lies there is none of ours
                env=_own_environment() if environment is None else environment,
            )
        except OSError as error:
            self._log.close()
            raise AgentError(f"{name}: {command[0]} does not start ({error.strerror})") from error
        try:
            hello = self.ask("hello", start_seconds)
            if hello.get("protocol") != PROTOCOL:
                raise AgentError(f"{name}: its agent speaks protocol {hello.get('protocol')}, expected {PROTOCOL}")
            self.host: dict[str, Any] = hello["host"]
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, timeout: float, **arguments: object) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            do: What to do; see `yolo_edge.ondevice.agent.server.Agent`.
            timeout: Seconds that it may take.
            **arguments: Of the request.

        Raises:
            InputError: What the request named cannot be used.
            YoloEdgeError: The job failed on the other side.
            AgentError: There is no answer, or it is none.
        """
        line = json.dumps({"do": do, **arguments}).encode() + b"\n"
        try:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            self._process.stdin.write(line)
        except OSError as error:
            raise self._ended(do) from error
        text = self._read_line(do, timeout)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise AgentError(f"{self._name}: not an answer to {do!r}: {printable(repr(text[:80]))}") from error
        if not isinstance(answer, dict):
            raise AgentError(f"{self._name}: not an answer to {do!r}: {printable(repr(text[:80]))}")
        if "error" in answer:
            kind = InputError if answer.get("exit_code") == InputError.exit_code else YoloEdgeError
            raise kind(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process: by the end of its input, or by force."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait(_GRACE)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self.close()

    def __enter__(self) -> "AgentProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # it may be in the middle of something long
            self.kill()

    def _read_line(self, do: str, seconds: float) -> bytes:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - it is a pipe
        parts, size, end = [self._rest], len(self._rest), time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while b"\n" not in parts[-1]:
                if not selector.select(max(end - time.monotonic(), 0)):
                    raise AgentError(f"{self._name}: no answer to {do!r} within {seconds:.0f} s")
                part = stream.read(1 << 20)
                if not part:
                    raise self._ended(do)
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER:
                    raise AgentError(f"{self._name}: an answer to {do!r} of more than {MAX_ANSWER >> 20} MB")
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line

    def _ended(self, do: str) -> AgentError:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return AgentError(f"{self._name}: closed its output during {do!r}")
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        if code == -9:
            how += ", as the kernel does when memory runs out"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(size - 2000, 0))
        lines = codecs.decode(self._log.read(), "utf-8", "replace").strip().splitlines()
        said = f": {printable(lines[-1][:200])}" if lines else ""
        return AgentError(f"{self._name}: ended {how} during {do!r}{said}")
