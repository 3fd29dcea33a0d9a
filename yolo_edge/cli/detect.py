"""`yolo-edge detect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.options import (
    Anchors,
    DeviceName,
    ExactResize,
    Fast,
    InventoryFile,
    Json,
    Model,
    Names,
    Resize,
    Runtime,
    SkipBad,
    SpecFile,
    Threads,
    Weights,
    check_resize,
)
from yolo_edge.cli.options import anchors as read_anchors
from yolo_edge.cli.options import path as path_option

if TYPE_CHECKING:
    import numpy as np

    from yolo_edge.ondevice.detections import Detections

_JPEG_QUALITY = 95


def detect(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(help="Pictures: files, folders, globs.", metavar="IMAGE", show_default=False),
    ],
    weights: Weights = None,
    confidence: Annotated[float, typer.Option(help="Leave out what is at or below, 0..1.")] = 0.25,
    iou: Annotated[float, typer.Option(help="NMS drops a box that overlaps a better one by more, 0..1.")] = 0.45,
    max_detections: Annotated[int, typer.Option(help="Of one picture.")] = 300,
    agnostic: Annotated[bool, typer.Option("--agnostic", help="NMS across classes.")] = False,
    threads: Threads = None,
    runtime: Runtime = "auto",
    fast: Fast = False,
    resize: Resize = None,
    names: Names = None,
    spec: SpecFile = None,
    anchors: Anchors = None,
    save: Annotated[
        Path | None,
        typer.Option(help="A folder for the pictures with boxes drawn.", show_default=False, parser=path_option),
    ] = None,
    device: DeviceName = "local",
    inventory: InventoryFile = None,
    exact_resize: ExactResize = False,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Find objects in pictures."""
    from yolo_edge.cli.output import note, note_fixed_nms, note_names, print_json, track
    from yolo_edge.cli.places import detectors_on
    from yolo_edge.ondevice.draw import draw
    from yolo_edge.ondevice.files import check_output_folder
    from yolo_edge.ondevice.pictures import find_images

    check_resize(resize)
    paths = find_images(images)
    bad = _check_pictures(paths, skip_bad)
    paths = [path for path in paths if path not in bad]
    targets: dict[Path, Path] = {}
    if save is not None:
        check_output_folder(save)
        targets = _targets(paths, save)
    arguments = {
        "model": model,
        "weights": weights,
        "names": names,
        "resize": resize,
        "spec_file": spec,
        "anchors": read_anchors(anchors),
        "exact": exact_resize,
        "confidence": confidence,
        "iou": iou,
        "max_detections": max_detections,
        "agnostic": agnostic,
        "threads": threads,
        "runtime": runtime,
        "fast": fast,
    }
    results = []
    with detectors_on(device, inventory, [arguments]) as place:
        (detector,) = place.detectors
        note_fixed_nms(detector)
        for item in track(place.search(paths, images=bool(targets)), "detecting", len(paths)):
            if item.error is not None:
                if not skip_bad:
                    raise item.error
                bad[item.path] = str(item.error)
                continue
            (found,) = item.found
            results.append(_result(item.path, item.size, found, detector.spec.names))
            if item.image is not None:
                _write_picture(targets[item.path], draw(item.image, found, detector.spec.names))
    if json:
        print_json(results)
    else:
        _print_results(results)
    note_names(detector.spec)
    if targets:
        note(f"{len(results)} picture{'s' if len(results) > 1 else ''} with boxes in {save}")
    for problem in bad.values():
        note(f"skipped: {problem}")
    if bad:
        note(f"{len(bad)} of {len(bad) + len(results)} pictures were skipped")


def _result(source: Path, size: tuple[int, int], found: "Detections", names: tuple[str, ...]) -> dict[str, Any]:
    from yolo_edge.ondevice.files import printable

    return {
        "image": printable(str(source)),
        "width": size[0],
        "height": size[1],
        "detections": found.to_dicts(names),
    }


def _print_results(results: list[dict[str, Any]]) -> None:
    from yolo_edge.cli.output import print_table

    rows: list[list[object]] = []
    for result in results:
        label = f"{result['image']} ({result['width']}x{result['height']})"
        for item in result["detections"] or [None]:
            if item is None:
                rows.append([label, "nothing found", "", "", "", "", ""])
            else:
                box = [f"{side:.0f}" for side in item["box"]]
                rows.append([label, item["class"], f"{item['confidence']:.2f}", *box])
            label = ""
    print_table(["picture", "class", "confidence>", "x1>", "y1>", "x2>", "y2>"], rows)


def _check_pictures(paths: list[Path], skip_bad: bool) -> dict[Path, str]:
    """Look at all pictures before the first is worked on, so that a bad one stops the job before it writes."""
    from yolo_edge.cli.output import track
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.images import check_image

    bad: dict[Path, str] = {}
    for path in track(paths, "looking at the pictures"):
        try:
            check_image(path)
        except InputError as error:
            bad[path] = str(error)
    if bad and not skip_bad:
        first = next(iter(bad.values()))
        more = f" (and {len(bad) - 1} more like it; --skip-bad leaves them out)" if len(bad) > 1 else ""
        raise InputError(first + more)
    if len(bad) == len(paths):
        raise InputError(f"none of the {len(paths)} pictures can be read, such as {next(iter(bad.values()))}")
    return bad


def _targets(paths: list[Path], folder: Path) -> dict[Path, Path]:
    """Where the drawn pictures go: names of their own, and never a source.

    Raises:
        InputError: A source would be overwritten.
    """
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.images import SUFFIXES

    targets: dict[Path, Path] = {}
    taken: set[str] = set()
    sources = {path.resolve() for path in paths}
    for path in paths:
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".png"
        name, number = f"{path.stem}{suffix}", 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        taken.add(name)
        target = folder / name
        if target.resolve() in sources:
            raise InputError(f"--save {folder}: would overwrite {target}; choose another folder")
        targets[path] = target
    return targets


def _write_picture(path: Path, image: "np.ndarray") -> None:
    import cv2

    from yolo_edge.ondevice.errors import YoloEdgeError
    from yolo_edge.ondevice.files import write_atomically

    try:
        done, data = cv2.imencode(path.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    except cv2.error as error:
        raise YoloEdgeError(f"{path}: OpenCV cannot write such a file ({error})") from error
    if not done:
        raise YoloEdgeError(f"{path}: OpenCV cannot write such a file")
    write_atomically(path, data.tobytes())
