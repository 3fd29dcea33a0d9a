"""From the path of a trained model to a `SourceModel`, whatever trained it."""

from dataclasses import replace
from pathlib import Path

from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.importers.darknet.weights import NoWeights
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable
from yolo_edge.ondevice.names import rename_classes
from yolo_edge.ondevice.spec import replace_input


def load_model(
    path: Path,
    *,
    weights: Path | None = None,
    size: tuple[int, int] | None = None,
    resize: str | None = None,
    names: str | None = None,
    licence: str | None = None,
    shapes_only: bool = False,
) -> SourceModel:
    """Import a trained model.

    Args:
        path: A darknet `.cfg`.
        weights: Its `.weights`; None: beside it.
        size: Input (width, height); None: the model's own.
        resize: "stretch" or "letterbox"; None: as the model was trained.
        names: "coco", "voc" or a file with a class name a line; None: COCO and VOC names for 80 and 20 classes.
        licence: Of the weights; None: what a licence file beside them says.
        shapes_only: Leave the weights unread, for looking at the structure.

    Raises:
        InputError: A file cannot be used, or an option does not fit it.
    """
    if path.suffix.lower() != ".cfg":
        raise InputError(f"{path}: expected a darknet .cfg file, got {path.suffix or 'no suffix'}")
    source = import_darknet(path, NoWeights() if shapes_only else weights, size)
    spec = source.spec
    if resize is not None:
        spec = replace_input(spec, resize=resize)
    if names is not None:
        spec = rename_classes(spec, names)
    if licence is not None:
        spec = replace(spec, provenance=replace(spec.provenance, licence=printable(licence)))
    return source.with_spec(spec)
