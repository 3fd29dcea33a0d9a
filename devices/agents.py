"""An agent on the machine that is measured, as a process of this one: it is asked, and answers."""

import codecs
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.devices.local import LocalDevice, own_environment
from yolo_edge.devices.wheels import setup_command
from yolo_edge.ondevice.agent.server import PROTOCOL
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable

MAX_ANSWER = 256 << 20  # bytes: more is none that an agent of ours gives

BY_A_SIGNAL = "by a signal (it crashed, or memory ran out)"  # ssh's exit code 255, where the connection is there

_GRACE = 5.0  # seconds to end by itself
_PART = 1 << 16


class AgentError(DeviceError):
    """An agent ended, hangs, or answers something else."""


def local_command() -> list[str]:
    """The command that starts an agent on this machine, with the interpreter and the packages of this process."""
    return [sys.executable, "-m", "yolo_edge.ondevice.agent"]


class AgentProcess:
    """An agent that runs, and the way to ask it. A context manager: leaving it ends the process."""

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        *,
        device: Device | None = None,
        environment: Mapping[str, str] | None = None,
        start_seconds: float = 120,
        translate: Callable[[str], str] = str,
    ):
        """Start it.

        Args:
            command: Its program and arguments.
            name: What it is to a person, for messages.
            device: Where to; None: this machine.
            environment: Its variables, on this machine; None: those of this process, with the places that it imports
                from.
            start_seconds: How long it may take to answer for the first time.
            translate: Makes what the agent complains of understandable here: its files may have other names.

        Attributes:
            host: What the machine says about itself.

        Raises:
            DeviceError: It cannot be started, or the device is gone.
            AgentError: It is of another version.
        """
        self._name, self._device, self._translate = name, device, translate
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._rest = b""
        try:
            if device is None:
                variables = own_environment() if environment is None else environment
                self._process = LocalDevice(name).stream(command, errors=self._log, environment=variables)
            else:
                self._process = device.stream(command, errors=self._log)
        except BaseException:
            self._log.close()
            raise
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        os.set_blocking(self._process.stdin.fileno(), False)
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
        self._send(do, timeout, arguments, b"")
        return self._receive(do, timeout, _runtime_of(arguments))

    def ask_in_turn(
        self, do: str, timeout: float, requests: Iterable[tuple[Mapping[str, object], bytes]], ahead: int = 2
    ) -> Iterator[dict[str, Any] | YoloEdgeError]:
        """Send requests, some before the answers of earlier ones are there, and give the answers in their order.

        Args:
            do: As for `ask`.
            timeout: Seconds that each may take.
            requests: The arguments of each, and the bytes that go with it.
            ahead: How many may wait on the other side.

        Yields:
            The answer of each, or what it failed of.

        Raises:
            AgentError: There is no answer, or it is none.
        """
        waiting = 0
        for arguments, payload in requests:
            self._send(do, timeout, arguments, payload)
            waiting += 1
            if waiting > ahead:
                yield self._receive_or_fail(do, timeout)
                waiting -= 1
        for _ in range(waiting):
            yield self._receive_or_fail(do, timeout)

    def _receive_or_fail(self, do: str, timeout: float) -> dict[str, Any] | YoloEdgeError:
        try:
            return self._receive(do, timeout)
        except DeviceError:  # there will be no more answers
            raise
        except YoloEdgeError as error:
            return error

    def _send(self, do: str, timeout: float, arguments: Mapping[str, object], payload: bytes) -> None:
        size = {"bytes": len(payload)} if payload else {}
        line = json.dumps({"do": do, **arguments, **size}).encode() + b"\n"
        stream = self._process.stdin
        assert stream is not None  # noqa: S101 - it is a pipe
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_WRITE)
            for part in (line, payload):
                left = memoryview(part)
                while left:
                    if not selector.select(max(end - time.monotonic(), 0)):
                        raise AgentError(f"{self._name}: takes no request within {timeout:.0f} s")
                    try:
                        left = left[os.write(stream.fileno(), left[:_PART]) :]
                    except BlockingIOError:
                        continue
                    except OSError as error:
                        raise self._ended(do) from error

    def _receive(self, do: str, timeout: float, runtime: str | None = None) -> dict[str, Any]:
        line = self._read_line(do, timeout)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise AgentError(f"{self._name}: not an answer to {do!r}: {printable(repr(line[:80]))}")
        if "error" in answer:
            kind = InputError if answer.get("exit_code") == InputError.exit_code else YoloEdgeError
            text = self._translate(str(answer["error"]))
            if answer.get("missing") and self._device is not None:
                # instead of pip's, which is for this machine
                text = f"{text.partition('; run: ')[0]}; run: {setup_command(self._device.name, runtime)}"
            raise kind(text)
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

    def _ended(self, do: str) -> DeviceError:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return AgentError(f"{self._name}: closed its output during {do!r}")
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(size - 2000, 0))
        said = codecs.decode(self._log.read(), "utf-8", "replace").strip()
        lost = None if self._device is None else self._device.ended(code, said)
        if lost is not None:
            return lost
        # a shell or ssh on the way has other ways to say that a signal ended it
        number = -code if code < 0 else code - 128 if 128 < code < 160 else None
        how = f"with exit code {code}" if number is None else f"by signal {number}"
        if number == 9:
            how += ", as the kernel does when memory runs out"
        elif self._device is not None and code == 255:
            how = BY_A_SIGNAL
        lines = said.splitlines()
        return AgentError(
            f"{self._name}: ended {how} during {do!r}" + (f": {printable(lines[-1][:200])}" if lines else "")
        )


def _runtime_of(arguments: Mapping[str, object]) -> str | None:
    """The runtime that a request names: `load` as an argument, `open` among its options."""
    options = arguments.get("options")
    found = arguments.get("runtime") or (options.get("runtime") if isinstance(options, Mapping) else None)
    return found if isinstance(found, str) else None
