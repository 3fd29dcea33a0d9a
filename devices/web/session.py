"""The one page that is measured: commands go to it, answers come back.

The coordinator's thread asks and waits; the server's event loop hands commands out and takes answers. A page always has
one request open that waits for the next command: that it is open says that the page is there, also while it measures.
"""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.web.facts import PageFacts
from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.files import printable

POLL_S = 10.0  # that a page waits for a command before it asks again
GRACE_S = 15.0  # without a request of the page: radio contact comes and goes

_LOOK_S = 0.5


class Command(msgspec.Struct, frozen=True):
    """What a page is to do.

    Attributes:
        number: Rising; the page says which it had last, so that none is lost with a connection.
        do: What; see page.js.
        arguments: Of it.
    """

    number: int
    do: str
    arguments: dict[str, Any] = {}


class Session:
    """At most one page at a time, and one for good.

    Attributes:
        facts: What the page told of itself; None: there was none yet.
    """

    def __init__(self, note: Callable[[str], None]):
        """No page is there yet; `note` is told what a person should know."""
        self.facts: PageFacts | None = None
        self._note = note
        self._changed = threading.Condition()
        self._id = ""
        self._command: Command | None = None
        self._answer: tuple[dict[str, Any], bytes] | None = None
        self._number = 0
        self._polls = 0  # open requests for commands
        self._seen = 0.0
        self._over = ""  # why
        self._told = False  # the page knows that it is over
        self._hidden = False
        self._progress: dict[str, Any] = {}
        self._result: dict[str, Any] | None = None
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    # ---- the coordinator's side

    def wait_for_page(self) -> PageFacts:
        """Wait until a page has begun; a person opens it, so there is no limit."""
        with self._changed:
            while self.facts is None:
                self._changed.wait(_LOOK_S)
            return self.facts

    def ask(self, do: str, timeout: float, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """Have the page do something, and wait for its answer and the bytes behind it.

        Raises:
            DeviceError: The page went away, or does not answer in time.
            YoloEdgeError: It failed there.
        """
        with self._changed:
            self._check()
            self._number += 1
            self._command, self._answer = Command(self._number, do, arguments), None
            self._wake()
            end = time.monotonic() + timeout
            while (answer := self._taken()) is None:
                self._check()
                if time.monotonic() > end:
                    where = "is the page in front, and the screen on?"
                    raise DeviceError(f"{self._name}: no answer to {do!r} within {timeout:.0f} s: {where}")
                self._changed.wait(_LOOK_S)
            self._command = None
        if "error" in answer[0]:
            raise YoloEdgeError(f"{self._name}: {printable(str(answer[0]['error']))[:300]}")
        return answer

    def tell(self, text: str, done: int, total: int) -> None:
        """What is done now, for the page to show; it comes there with the next command."""
        with self._changed:
            self._progress = {"text": text, "done": done, "total": total}

    def close(self, why: str, result: dict[str, Any] | None = None) -> None:
        """Tell the page that it is over, and why, and what was found; nothing can be asked any more."""
        with self._changed:
            if not self._over:
                self._over, self._result = why, result
            self._wake()

    def wait_until_told(self, seconds: float) -> None:
        """Wait until the page knows that it is over, so many seconds at most: it may be on its way to ask."""
        end = time.monotonic() + seconds
        with self._changed:
            while self.facts is not None and not self._told and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    @property
    def _name(self) -> str:
        return self.facts.label if self.facts else "the page"

    def _taken(self) -> tuple[dict[str, Any], bytes] | None:
        return self._answer

    def _check(self) -> None:
        """Raise where no page is left."""
        if not self._over and not self._polls and time.monotonic() - self._seen > GRACE_S:
            self._over = (
                f"nothing is heard of the page for {GRACE_S:.0f} s: was the screen locked, the page put into the "
                "background, or the network lost? A browser that runs out of memory ends a page, too: measure fewer "
                "models at a time"
            )
            self._told = True  # nobody is left to tell
        if self._over:
            raise DeviceError(f"{self._name}: {self._over}")

    # ---- the server's side

    def begin(self, facts: PageFacts) -> str | None:
        """A page wants to be measured: what it is known by from now on; None: there is, or was, another one."""
        with self._changed:
            if self.facts is not None or self._over:
                return None
            self.facts, self._id, self._seen = facts, secrets.token_urlsafe(16), time.monotonic()
            self._changed.notify_all()
            return self._id

    def knows(self, session: str) -> bool:
        """Whether this is the page that began."""
        return bool(self._id) and secrets.compare_digest(session.encode(), self._id.encode())

    async def next(self, after: int, gone: "asyncio.Task[None]") -> bytes:
        """The first command after the one that a page had last, as JSON; `{}` where there is none for a while.

        Args:
            after: Its number.
            gone: Ends when the page's connection does.
        """
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._polls += 1
            self._waiters.add(waiter)
        woken: asyncio.Task[Any] | None = None
        try:
            found = self._due(after)
            if not found:
                woken = asyncio.ensure_future(waiter[1].wait())
                await asyncio.wait([woken, gone], timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
                found = self._due(after)
            return found or b"{}"
        finally:
            if woken is not None:
                woken.cancel()
            with self._changed:
                self._polls -= 1
                self._seen = time.monotonic()
                self._waiters.discard(waiter)
                self._changed.notify_all()

    def take(self, number: int, answer: dict[str, Any], payload: bytes) -> None:
        """An answer to the command of this number; one that came before, by another connection, is passed over."""
        with self._changed:
            self._seen = time.monotonic()
            if self._command is not None and self._command.number == number and self._answer is None:
                self._answer = (answer, payload)
                self._changed.notify_all()

    def hide(self, hidden: bool) -> None:
        """The page was put into the background, or came back."""
        with self._changed:
            if hidden and not self._hidden and not self._over:
                self._note(f"{self._name}: the page is in the background, nothing is measured: bring it to the front")
            self._hidden = hidden

    def leave(self) -> None:
        """The page was closed."""
        with self._changed:
            self._over, self._told = self._over or "the page was closed before the end", True
            self._changed.notify_all()
            self._wake()

    def _due(self, after: int) -> bytes:
        with self._changed:
            if self._over:
                self._told = True
                return json.dumps({"do": "end", "text": self._over, "result": self._result}).encode()
            command = self._command
            if command is None or command.number <= after or self._answer is not None:
                return b""
            found = {**command.arguments, "number": command.number, "do": command.do, "progress": self._progress}
            return json.dumps(found).encode()

    def _wake(self) -> None:
        for loop, event in self._waiters:
            loop.call_soon_threadsafe(event.set)
