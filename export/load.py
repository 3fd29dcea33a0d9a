"""From the path of a trained model to a `SourceModel`, whatever trained it."""

import dataclasses
from pathlib import Path

from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_bytes
from yolo_edge.ondevice.names import NAMES
from yolo_edge.ondevice.spec import ModelSpec, replace_input

_MAX_NAMES_BYTES = 4 * 1024 * 1024


def load_model(
    path: Path,
    *,
    weights: Path | None = None,
    size: tuple[int, int] | None = None,
    resize: str | None = None,
    names: str | None = None,
    shapes_only: bool = False,
) -> SourceModel:
    """Import a trained model.

    Args:
        path: A darknet `.cfg`.
        weights: Its `.weights`; None: beside it.
        size: Input (width, height); None: the model's own.
        resize: "stretch" or "letterbox"; None: as the model was trained.
        names: "coco", "voc" or a file with a class name a line; None: COCO and VOC names for 80 and 20 classes.
        shapes_only: Leave the weights unread, for looking at the structure.

    Raises:
        InputError: A file cannot be used, or an option does not fit it.
    """
    if path.suffix.lower() != ".cfg":
        raise InputError(f"{path}: expected a darknet .cfg file, got {path.suffix or 'no suffix'}")
    source = import_darknet(path, weights, size, shapes_only)
    spec = source.spec
    if resize is not None:
        spec = replace_input(spec, resize=resize)
    if names is not None:
        spec = rename_classes(spec, names)
    return source.with_spec(spec)


def rename_classes(spec: ModelSpec, names: str) -> ModelSpec:
    """The spec with the class names "coco", "voc" or those of a file.

    Raises:
        InputError: The file cannot be read, or there are more or fewer names than classes.
    """
    found = NAMES[names] if names in NAMES else _read_names(Path(names))
    if len(found) != len(spec.names):
        raise InputError(f"names {names}: {len(found)} names, the model has {len(spec.names)} classes")
    names_from = names if names in NAMES else f"file {Path(names).name}"
    return dataclasses.replace(spec, names=found, names_from=names_from)


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        text = read_bytes(path, _MAX_NAMES_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: class names are UTF-8 text, one a line ({error})") from error
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise InputError(f"{path}:{number}: expected a class name, got {name[:40]!r}")
    return tuple(names)
