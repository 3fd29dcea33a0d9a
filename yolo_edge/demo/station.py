"""The part of a demo that runs on a device, for another machine that started it and looks at it.

It says what board it is, reads one line of JSON with what to do, and tells how it goes: a JSON object a line, with one
key each.

    hello   what the host has to know of the board before it can say what to do
    ready   it runs; where the page is served, and how many frames there are
    note    something for a person
    status  how many frames were worked on, and how it goes, for a person
    jsonl   lines for the next program of a pipe
    done    it ended as it should; what was done, for a person, and the video that was recorded
    error   it did not

It ends, lamps out and files complete, when another line comes, when its input ends, when nobody reads its output, and
when the keeper of the connection is gone (`yolo_edge.ondevice.agent.keeper`).
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from yolo_edge.ondevice.agent.emulation import is_emulated
from yolo_edge.ondevice.agent.requests import leave, when_unlocked, when_unread
from yolo_edge.ondevice.errors import MissingRuntimeError, YoloEdgeError
from yolo_edge.ondevice.opencv import prepare_opencv
from yolo_edge.ondevice.sysfs import board_model

_END_S = 20.0  # to end as it should; then it is killed, with what it started
_LONGEST_ORDER = 64 << 20  # bytes: the specs of models are in it


class Channel:
    """What is told to the other side; a file for text, whose lines are told as `jsonl`."""

    def __init__(self, stream: BinaryIO):
        """Messages go to `stream`."""
        self._stream, self._lock = stream, threading.Lock()

    def tell(self, **message: Any) -> None:
        """Send one message, from any thread.

        Raises:
            OSError: Nobody is there.
        """
        data = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._stream.write(data)
            self._stream.flush()

    def write(self, text: str) -> None:
        """As of a text file."""
        self.tell(jsonl=text)

    def flush(self) -> None:
        """As of a text file."""


def main(arguments: Sequence[str]) -> None:
    """Serve one host on standard input and output.

    Args:
        arguments: The file whose lock says that the host is there.
    """
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # what we start ends with us
    prepare_opencv()
    # what a library prints must not get between the messages: it goes to standard error
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb")

    def end() -> None:
        stop.set()
        timer = threading.Timer(_END_S, leave)
        timer.daemon = True
        timer.start()

    when_unread(stream.fileno(), end)
    for path in arguments:
        when_unlocked(path, end)
    channel = Channel(stream)
    try:
        channel.tell(hello={"model": board_model(Path("/")), "emulated": is_emulated()})
        line = orders.readline(_LONGEST_ORDER)
        if line.endswith(b"\n"):
            threading.Thread(target=_await_end, args=(orders, stop, end), name="orders", daemon=True).start()
            carry_out(json.loads(line), channel, stop)
    except OSError:  # nobody is there any more
        pass
    os._exit(0)  # whatever a library's threads are in the middle of


def carry_out(order: Mapping[str, Any], channel: Channel, stop: threading.Event) -> None:
    """Run a demo until its source ends or `stop` is set, and tell how it goes.

    Args:
        order: See `yolo_edge.demo.far.FarDemo`, which makes it.
        channel: Is told.
        stop: Set by another thread.

    Raises:
        OSError: Nobody is there.
    """
    video = order["settings"]["save"]
    try:
        summary = _run(order, channel, stop)
    except ImportError as error:
        text = f"{error.name or 'a library'} does not load there ({' '.join(str(error).split())[:300]})"
        channel.tell(error={"text": text, "exit_code": 1, "missing": "library", "video": None})
    except YoloEdgeError as error:
        missing = "runtime" if isinstance(error, MissingRuntimeError) else None
        found = {"text": str(error), "exit_code": error.exit_code, "missing": missing, "video": _existing(video)}
        channel.tell(error=found)
    except Exception as error:  # noqa: BLE001 - the other side learns of it
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        channel.tell(error={"text": text, "exit_code": 1, "missing": None, "video": _existing(video)})
    else:
        channel.tell(done={"summary": summary, "video": _existing(video)})


def _run(order: Mapping[str, Any], channel: Channel, stop: threading.Event) -> str:
    from yolo_edge.demo.demo import Demo, Settings  # noqa: PLC0415
    from yolo_edge.demo.power import find_power  # noqa: PLC0415
    from yolo_edge.demo.sources import open_source  # noqa: PLC0415
    from yolo_edge.serving.address import listen  # noqa: PLC0415 - numpy, OpenCV and a runtime may be missing

    def note(text: str) -> None:
        with suppress(OSError):  # the threads of a demo do not end with the one who looks
            channel.tell(note=text)

    size = order["capture_size"]
    source = open_source(order["source"], None if size is None else (size[0], size[1]), note)
    with _listening(listen if order["view"] else None) as listening:
        models = [_load(model) for model in order["models"]]
        given = order["settings"]
        settings = Settings(
            **{
                **given,
                "save": None if given["save"] is None else Path(given["save"]),
                "jsonl": cast(TextIO, channel) if given["jsonl"] else None,
            }
        )
        demo = Demo(source, models, settings, note, listening, find_power(order["meter"], board=order["board"]))
        with demo:
            port = None if listening is None else listening.getsockname()[1]
            frames = None if settings.loop else source.frames
            channel.tell(ready={"port": port, "frames": frames, "every_frame": demo.batch})
            demo.run(stop, lambda now: channel.tell(status={"frames": now.inference.frames, "text": now.describe()}))
    return demo.summary()


def _load(model: Mapping[str, Any]) -> Any:
    from yolo_edge.demo.demo import usual_threads  # noqa: PLC0415 - see above
    from yolo_edge.demo.inference import Model  # noqa: PLC0415
    from yolo_edge.ondevice.detector import Detector  # noqa: PLC0415
    from yolo_edge.ondevice.spec import ModelSpec  # noqa: PLC0415

    options = {**model["options"], "threads": model["options"]["threads"] or usual_threads()}
    spec = ModelSpec.from_json(model["spec"], f"{model['path']}: spec")
    classes = None if model["classes"] is None else frozenset(model["classes"])
    return Model(model["name"], Detector(model["path"], spec, **options), classes)


@contextmanager
def _listening(listen: Callable[[str, int], Any] | None) -> Iterator[Any]:
    if listen is None:
        yield None
        return
    with listen("127.0.0.1", 0) as listening:
        yield listening


def _await_end(orders: BinaryIO, stop: threading.Event, end: Callable[[], None]) -> None:
    if orders.readline(1 << 10):
        stop.set()  # the other side says so, and waits
        orders.read()
    end()


def _existing(video: str | None) -> str | None:
    return video if video is not None and Path(video).exists() else None
