"""`yolo-edge demo`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.address import Listen, Token, listening_on
from yolo_edge.cli.options import (
    DeviceName,
    Fast,
    InventoryFile,
    Names,
    Resize,
    Runtime,
    SpecFile,
    Weights,
    check_resize,
    path,
    sizes,
)

if TYPE_CHECKING:
    from yolo_edge.cli.output import AnyDetector
    from yolo_edge.demo.demo import Settings
    from yolo_edge.demo.far import Place
    from yolo_edge.devices.inventory import Entry
    from yolo_edge.serving.address import Address

_MOST_MODELS = 9  # a key each


def demo(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Exported files, or what export takes; the page switches between them.",
            metavar="MODEL",
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
    device: DeviceName = "local",
    inventory: InventoryFile = None,
) -> None:
    """Show what a model finds, live, and let something happen when something is there.

    With --device it runs there: the source, pins, --exec and --webhook are the device's; the page, the video of --save
    and the lines of --jsonl come here.
    """
    import sys
    from dataclasses import replace

    from yolo_edge.cli.demo_options import check_limits, model_names, read_command, read_pins
    from yolo_edge.demo.demo import FLOOR, Settings
    from yolo_edge.demo.far import Place
    from yolo_edge.devices.inventory import LOCAL, find_device
    from yolo_edge.ondevice.detector import check_options
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.serving.address import new_token, read_address

    check_resize(resize)
    check_options(confidence, iou, max_detections)
    limits = {"--on-after": (on_after, 1, 10_000), "--off-after": (off_after, 1, 10_000)}
    check_limits({**limits, "--threads": (threads, 1, 1024), "--fps": (fps, 0, 1000), "--every": (every, 0, 86_400)})
    if len(models) > _MOST_MODELS:
        raise InputError(f"{len(models)} models, {_MOST_MODELS} are the most")
    if weights is not None and len(models) > 1:
        raise InputError(f"--weights {weights}: goes with one model, there are {len(models)}")
    entry = find_device(device, inventory)
    address = None if no_view else read_address(listen, token)
    if address is not None and address.token is None and device != LOCAL:
        # others may be logged in there
        address = replace(address, token=new_token("auto"), shown=True)
    settings = Settings(
        confidence=confidence,
        fps=fps,
        loop=loop,
        token=None if address is None else address.token,
        save=save,
        jsonl=sys.stdout if jsonl else None,
        gpio=read_pins(gpio or []),
        webhook=webhook,
        command=None if exec_ is None else read_command(exec_),
        on_after=on_after,
        off_after=off_after,
        every=every,
    )
    arguments = {
        name: {
            "model": file,
            "weights": weights,
            "names": names,
            "resize": resize,
            "spec_file": spec,
            "confidence": min(confidence, FLOOR),
            "iou": iou,
            "max_detections": max_detections,
            "agnostic": agnostic,
            "threads": threads,
            "runtime": runtime,
            "fast": fast,
        }
        for name, file in zip(model_names(models), models, strict=True)
    }
    place = Place(source, None if capture_size is None else sizes(capture_size, "capture-size")[0], meter)
    if device == LOCAL:
        _run_here(arguments, classes, place, settings, address)
    else:
        _run_there(device, entry, arguments, classes, place, settings, address)


def _run_here(
    arguments: Mapping[str, dict[str, Any]],
    classes: str | None,
    place: "Place",
    settings: "Settings",
    address: "Address | None",
) -> None:
    from yolo_edge.cli.demo_options import classes_of, stopped_by_signals
    from yolo_edge.cli.models import open_sized
    from yolo_edge.cli.output import note, running
    from yolo_edge.demo.demo import Demo, usual_threads
    from yolo_edge.demo.inference import Model
    from yolo_edge.demo.power import find_power
    from yolo_edge.demo.sources import open_source

    source = open_source(place.source, place.capture_size, note)
    with listening_on(address) as listening:
        detectors = [
            open_sized(**{**model, "threads": model["threads"] or usual_threads()})[0] for model in arguments.values()
        ]
        chosen = classes_of(detectors, classes, settings.gpio or {})
        models = [Model(*parts) for parts in zip(arguments, detectors, chosen, strict=True)]
        view = Demo(source, models, settings, note, listening, find_power(place.meter))
        _note_models(detectors)
        with stopped_by_signals() as stop, view:
            if address is not None and listening is not None:
                note(f"Look at {address.url(listening.getsockname()[1])}{address.hint} (Ctrl-C ends it)")
            with running(None if settings.loop else source.frames) as show:
                view.run(stop, lambda now: show(now.inference.frames, now.describe()))
    note(view.summary())


def _run_there(
    name: str,
    entry: "Entry",
    arguments: Mapping[str, dict[str, Any]],
    classes: str | None,
    place: "Place",
    settings: "Settings",
    address: "Address | None",
) -> None:
    from yolo_edge.cli.demo_options import classes_of, stopped_by_signals
    from yolo_edge.cli.models import far_detector
    from yolo_edge.cli.output import note, running
    from yolo_edge.demo.far import FarDemo, FarModel
    from yolo_edge.demo.recorder import check_video
    from yolo_edge.devices.android import NO_AGENT
    from yolo_edge.devices.device import DeviceError
    from yolo_edge.devices.scratch import scratch_folder
    from yolo_edge.devices.ssh import SshDevice
    from yolo_edge.devices.transports import open_device

    if settings.save is not None:
        check_video(settings.save)
    with listening_on(address):  # a port that is taken is noticed before anything is sent
        pass
    device = open_device(name, entry)
    if not isinstance(device, SshDevice):
        raise DeviceError(f"{name}: a demo needs Python there, and adb reaches none: {NO_AGENT}")
    with scratch_folder() as folder:
        detectors = [far_detector(**model, folder=folder) for model in arguments.values()]
        chosen = classes_of(detectors, classes, settings.gpio or {})
        models = [FarModel(*parts) for parts in zip(arguments, detectors, chosen, strict=True)]
        _note_models(detectors)
        note(f"{name}: starting the demo there …")
        with device, FarDemo(device, models, place, settings, view=address is not None, note=note) as view:
            if view.emulated or entry.emulated:
                note(f"{name} is emulated: what it finds is right, its rates and times mean nothing")
            with stopped_by_signals() as stop:
                if address is not None:
                    note(f"Look at {address.url(view.forward(address))}{address.hint} (Ctrl-C ends it)")
                with running(view.frames) as show:
                    summary = view.run(stop, show)
    note(summary)


def _note_models(detectors: "Iterable[AnyDetector]") -> None:
    from yolo_edge.cli.output import note_fixed_nms, note_names

    found = list(detectors)
    for detector in found:
        note_fixed_nms(detector)
    for spec in {detector.spec.names: detector.spec for detector in found}.values():
        note_names(spec)
