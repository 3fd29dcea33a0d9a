"""Reading what other programs write, of which neither the end nor the size is known."""

import contextlib
import os
import selectors
import subprocess
import time

from yolo_edge.devices.device import Completed

MAX_OUTPUT = 64 << 20  # bytes of a program that is run to its end
_PART = 1 << 16


def read_line(process: "subprocess.Popen[bytes]", seconds: float, limit: int) -> bytes | None:
    """The first line of a program's output, which ends with it; b"" where the output ended before; None: too late."""
    stream = process.stdout
    assert stream is not None  # noqa: S101 - it is a pipe
    line, end = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while b"\n" not in line and len(line) < limit:
            if not selector.select(max(end - time.monotonic(), 0)):
                return None
            part = os.read(stream.fileno(), _PART)
            if not part:
                return b""
            line += part
    return line


def communicate(process: "subprocess.Popen[bytes]", given: bytes | None, seconds: float) -> Completed | None:
    """Give a program its input and read what it writes, to its end; None, and its end, where that takes too long.

    What it writes beyond `MAX_OUTPUT` ends it too. Standard output may lead elsewhere than to a pipe.
    """
    end = time.monotonic() + seconds
    parts: dict[object, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    left = memoryview(given or b"")
    try:
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                ready = selector.select(max(end - time.monotonic(), 0))
                if not ready:
                    return None
                for key, _ in ready:
                    if key.fileobj is process.stdin:
                        with contextlib.suppress(BlockingIOError):
                            try:
                                left = left[os.write(key.fd, left[:_PART]) :]
                            except BrokenPipeError:  # it wants no more
                                left = left[:0]
                        if not left:
                            selector.unregister(key.fileobj)
                            process.stdin.close()
                        continue
                    part = os.read(key.fd, _PART)
                    parts[key.fileobj] += part
                    if not part:
                        selector.unregister(key.fileobj)
                    if len(parts[key.fileobj]) > MAX_OUTPUT:
                        return None
        code = process.wait(max(end - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    return Completed(code, bytes(parts[process.stdout]), bytes(parts[process.stderr]))
