"""How requests reach the agent, and how it learns that nobody is left to answer."""

import fcntl
import json
import os
import queue
import select
import signal
import threading
from typing import Any, BinaryIO, Callable, Iterator, NamedTuple, Optional

MAX_LINE = 64 << 20  # bytes of a request: the spec of a model is in one
MAX_PAYLOAD = 512 << 20  # bytes behind a request: a picture


class Request(NamedTuple):
    """One request.

    Attributes:
        value: The JSON of its line; None where it is none.
        payload: The bytes behind the line, as many as its "bytes" says.
    """

    value: Any
    payload: bytes


def read_requests(stream: BinaryIO) -> Iterator[Request]:
    """Requests until the stream ends: a line each, and a payload where the line says so.

    A payload that is cut ends them. What follows a line that is too long cannot be told from it, so that ends them too.
    """
    while True:
        line = stream.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            return
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        size = value.get("bytes", 0) if isinstance(value, dict) else 0
        if not isinstance(size, int) or not 0 <= size <= MAX_PAYLOAD:
            return
        payload = stream.read(size) if size else b""
        if len(payload) < size:
            return
        yield Request(value, payload)


def read_ahead(stream: BinaryIO) -> Iterator[Request]:
    """The same, read by a thread: the next picture arrives while one is worked on.

    How many may wait is the coordinator's to limit.
    """
    waiting: queue.SimpleQueue[Optional[Request]] = queue.SimpleQueue()

    def read() -> None:
        try:
            for request in read_requests(stream):
                waiting.put(request)
        finally:
            waiting.put(None)

    threading.Thread(target=read, name="requests", daemon=True).start()
    return iter(waiting.get, None)


def when_unread(descriptor: int, act: Callable[[], None]) -> None:
    """Call `act` once nobody reads what is written to a pipe or a socket any more; at once if it is a broken one.

    The kernel says so: nothing is written, and waiting takes no time.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)  # errors and hang-ups are always reported
        poll.poll()
        act()

    threading.Thread(target=wait, name="unread", daemon=True).start()


def when_unlocked(path: str, act: Callable[[], None]) -> None:
    """Call `act` once the process that holds the lock on a file has ended; see `keeper`. At once if there is none."""

    def wait() -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:  # the file is gone, and whoever kept it
            pass
        act()

    threading.Thread(target=wait, name="unlocked", daemon=True).start()


def leave() -> None:
    """End at once, whatever this process is in the middle of, and what it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
