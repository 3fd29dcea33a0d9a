"""`yolo-edge demo`."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.address import Listen, Token, listening_on, read_address
from yolo_edge.cli.options import (
    Fast,
    Names,
    Resize,
    Runtime,
    SpecFile,
    Weights,
    check_resize,
    path,
    sizes,
    split,
)

if TYPE_CHECKING:
    from yolo_edge.demo.demo import Demo
    from yolo_edge.demo.inference import Model
    from yolo_edge.demo.sources import Source

_MOST_MODELS = 9  # a key each


def demo(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Exported files, or what export takes; the page switches between them.",
            metavar="MODEL...",
            show_default=False,
            parser=path,
        ),
    ],
    source: Annotated[
        str,
        typer.Option(
            help="A camera (0, /dev/video0, picamera), a stream (rtsp://…, http://…), a video, pictures, or scenes.",
            metavar="0|picamera|URL|FILE|FOLDER|scenes",
            show_default=False,
        ),
    ],
    listen: Listen = "127.0.0.1:8080",
    token: Token = None,
    no_view: Annotated[bool, typer.Option("--no-view", help="Serve no page.")] = False,
    confidence: Annotated[float, typer.Option(help="Leave out what is at or below, 0..1.")] = 0.25,
    iou: Annotated[float, typer.Option(help="NMS drops a box that overlaps a better one by more, 0..1.")] = 0.45,
    max_detections: Annotated[int, typer.Option(help="Of one picture.")] = 300,
    agnostic: Annotated[bool, typer.Option("--agnostic", help="NMS across classes.")] = False,
    classes: Annotated[
        str | None,
        typer.Option(help="Only these count, by name.", metavar="A,B", show_default=False),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Of a file: pictures a second, 0 for as many as it goes. Default: its own speed; with --no-view 0.",
            show_default=False,
        ),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin a file again at its end.")] = False,
    capture_size: Annotated[
        str | None,
        typer.Option(help="What a camera is asked for.", metavar="WIDTHxHEIGHT", show_default=False),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="A video with boxes drawn: .mp4, .mkv, .avi.", show_default=False, parser=path),
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print a line of JSON for each frame.")] = False,
    gpio: Annotated[
        list[str] | None,
        typer.Option(help="Light a lamp while a class is there; may be repeated.", metavar="CLASS=PIN"),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(help="POST a JSON to it when a class appears, and when it is gone.", metavar="URL"),
    ] = None,
    exec_: Annotated[
        str | None,
        typer.Option("--exec", help="Start a program then, with the JSON as its input; no shell.", metavar="PROGRAM"),
    ] = None,
    on_after: Annotated[int, typer.Option(help="Frames in a row with a class until it is there.")] = 2,
    off_after: Annotated[int, typer.Option(help="Frames in a row without it until it is gone.")] = 5,
    every: Annotated[float, typer.Option(help="Seconds between two calls of --webhook and --exec for a class.")] = 10.0,
    meter: Annotated[
        str | None,
        typer.Option(
            help="The power meter to show. Default: the machine's own, if it has one.",
            metavar="KIND[:key=value,…]",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of one inference. Default: one less than there are CPUs.", show_default=False)
    ] = None,
    runtime: Runtime = "auto",
    fast: Fast = False,
    weights: Weights = None,
    resize: Resize = None,
    names: Names = None,
    spec: SpecFile = None,
) -> None:
    """Show what a model finds, live, and let something happen when something is there."""
    import sys

    from yolo_edge.cli.models import open_detector
    from yolo_edge.cli.output import note, note_fixed_nms, note_names, running
    from yolo_edge.demo.demo import FLOOR, Demo, Settings
    from yolo_edge.demo.inference import Model
    from yolo_edge.demo.power import find_power
    from yolo_edge.ondevice.detector import check_options
    from yolo_edge.ondevice.errors import InputError

    check_resize(resize)
    check_options(confidence, iou, max_detections)
    limits = {"--on-after": (on_after, 1, 10_000), "--off-after": (off_after, 1, 10_000)}
    _check_limits({**limits, "--fps": (fps, 0, 1000), "--every": (every, 0, 86_400)})
    if len(models) > _MOST_MODELS:
        raise InputError(f"{len(models)} models, {_MOST_MODELS} are the most")
    if weights is not None and len(models) > 1:
        raise InputError(f"--weights {weights}: goes with one model, there are {len(models)}")
    pictures = _open_source(source, capture_size)
    address = None if no_view else read_address(listen, token)
    pins = _pins(gpio or [])
    command = None if exec_ is None else _words(exec_)
    with listening_on(address) as listening:
        loaded = []
        for file, name in zip(models, _names(models), strict=True):
            options: dict[str, Any] = {"iou": iou, "max_detections": max_detections, "agnostic": agnostic, "fast": fast}
            detector = open_detector(
                file,
                weights,
                names,
                resize,
                spec,
                confidence=min(confidence, FLOOR),
                threads=threads or _usual_threads(),
                runtime=runtime,
                **options,
            )
            loaded.append(Model(name, detector))
        loaded = _only(loaded, classes)
        _check_classes(pins, loaded, "--gpio")
        settings = Settings(
            confidence=confidence,
            fps=fps,
            loop=loop,
            token=None if address is None else address.token,
            save=save,
            jsonl=sys.stdout if jsonl else None,
            gpio=pins,
            webhook=webhook,
            command=command,
            on_after=on_after,
            off_after=off_after,
            every=every,
        )
        power = find_power(meter)
        view = Demo(pictures, loaded, settings, note, listening, power)
        for model in loaded:
            note_fixed_nms(model.detector)
        for known in {model.detector.spec.names: model.detector.spec for model in loaded}.values():
            note_names(known)
        with _stopped_by_signals() as stop, view:
            if address is not None and listening is not None:
                note(f"Look at {address.url(listening)}{address.hint} (Ctrl-C ends it)")
            total = None if loop else pictures.frames
            with running(total) as show:
                view.run(stop, lambda now: show(now.inference.frames, _how_it_goes(now)))
    note(view.summary())


def _check_limits(limits: dict[str, tuple[float | None, float, float]]) -> None:
    import math

    from yolo_edge.ondevice.errors import InputError

    for option, (value, low, high) in limits.items():
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"{option} {value:g}: expected {low:g}..{high:g}")


def _open_source(text: str, capture_size: str | None) -> "Source":
    from yolo_edge.cli.output import note
    from yolo_edge.cli.pictures import find_images
    from yolo_edge.demo.sources import Pictures, open_source
    from yolo_edge.ondevice.images import SUFFIXES

    if text and "://" not in text and (Path(text).suffix.lower() in SUFFIXES or "*" in text or Path(text).is_dir()):
        return Pictures(text, find_images([text]), note)
    size = None if capture_size is None else sizes(capture_size)[0]
    return open_source(text, size)


def _names(models: Sequence[Path]) -> list[str]:
    """File names; paths where those are not enough."""
    from yolo_edge.ondevice.files import printable

    names = [model.name for model in models]
    return [printable(str(m) if names.count(m.name) > 1 else m.name) for m in models]


def _usual_threads() -> int:
    import os

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cpus - 1, 1)


def _only(models: "list[Model]", classes: str | None) -> "list[Model]":
    from dataclasses import replace

    if classes is None:
        return models
    wanted = split(classes, "classes")
    _check_classes(wanted, models, "--classes")
    return [
        replace(model, classes=frozenset(i for i, name in enumerate(model.detector.spec.names) if name in wanted))
        for model in models
    ]


def _check_classes(names: "Sequence[str] | dict[str, int]", models: "Sequence[Model]", option: str) -> None:
    from yolo_edge.ondevice.errors import InputError

    known = list(dict.fromkeys(name for model in models for name in model.detector.spec.names))
    for name in names:
        if name not in known:
            some = ", ".join(known[:8])
            raise InputError(f"{option}: no class {name!r}; there are {some}{' …' if len(known) > 8 else ''}")


def _pins(texts: Sequence[str]) -> dict[str, int]:
    from yolo_edge.ondevice.errors import InputError

    pins: dict[str, int] = {}
    for text in texts:
        name, _, pin = text.rpartition("=")
        if not name or not (pin.isascii() and pin.isdigit() and len(pin) <= 3):
            raise InputError(f"--gpio {text!r}: expected CLASS=PIN, such as qr_code=17 (Broadcom's numbers)")
        if name in pins or int(pin) in pins.values():
            raise InputError(f"--gpio {text!r}: a class has one lamp, and a pin one class")
        pins[name] = int(pin)
    return pins


def _words(text: str) -> list[str]:
    import shlex

    from yolo_edge.ondevice.errors import InputError

    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"--exec {text!r}: {error}") from error


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and SIGHUP are how a demo ends: an event instead of an exception; the second one kills."""
    import signal
    from types import FrameType

    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Any] = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def _how_it_goes(demo: "Demo") -> str:
    status = demo.status.latest
    if not status:
        return "starting"
    if status["lost"]:
        return f"the source is lost: {status['lost']}"
    parts = [f"{status['fps']:.1f} frames a second"]
    if demo.server is not None:
        viewers = demo.server.viewers
        parts.append("nobody looks" if viewers == 0 else f"{viewers} look{'s' if viewers == 1 else ''}")
    if status["there"]:
        parts.append("there: " + ", ".join(status["there"][:4]))
    return " · ".join(parts)
