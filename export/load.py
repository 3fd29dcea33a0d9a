"""From the path of a trained model to a `SourceModel`, whatever trained it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.importers.darknet.weights import NoWeights
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, printable, read_text
from yolo_edge.ondevice.names import rename_classes
from yolo_edge.ondevice.spec import ModelSpec, replace_input

_PICKLES = (".pt", ".pth", ".ckpt", ".pkl")
_MAX_SPEC = 16 * 1024 * 1024


def load_model(
    path: PathLike,
    *,
    weights: PathLike | None = None,
    size: tuple[int, int] | None = None,
    resize: str | None = None,
    names: str | None = None,
    licence: str | None = None,
    spec: PathLike | None = None,
    anchors: Sequence[tuple[float, float]] = (),
    shapes_only: bool = False,
) -> SourceModel:
    """Import a trained model.

    Args:
        path: A darknet `.cfg`, or an `.onnx` of another trainer.
        weights: Its `.weights`; None: beside it.
        size: Input (width, height); None: the model's own.
        resize: "stretch" or "letterbox"; None: as the model was trained.
        names: "coco", "voc" or a file with a class name a line; None: COCO and VOC names for 80 and 20 classes.
        licence: Of the weights; None: what a licence file beside them says.
        spec: A file with the spec of an `.onnx` that is not recognised.
        anchors: (width, height) in pixels of the input of an `.onnx` that does not hold them, from fine to coarse.
        shapes_only: Leave the weights of a `.cfg` unread, for looking at the structure.

    Raises:
        InputError: A file cannot be used, or an option does not fit it.
    """
    weights, spec = (None if file is None else Path(file) for file in (weights, spec))
    source = _import(Path(path), weights, size, spec, anchors, shapes_only)
    found = source.spec
    if resize is not None:
        found = replace_input(found, resize=resize)
    if names is not None:
        found = rename_classes(found, names)
    if licence is not None:
        found = replace(found, provenance=replace(found.provenance, licence=printable(licence)))
    return source.with_spec(found)


def _import(
    path: Path,
    weights: Path | None,
    size: tuple[int, int] | None,
    spec: Path | None,
    anchors: Sequence[tuple[float, float]],
    shapes_only: bool,
) -> SourceModel:
    suffix = path.suffix.lower()
    refuse_pickle(path)
    if suffix not in (".cfg", ".onnx"):
        raise InputError(f"{path}: expected a darknet .cfg or an .onnx file, got {path.suffix or 'no suffix'}")
    if suffix == ".cfg":
        if spec is not None:
            raise InputError(f"--spec {spec}: goes with an .onnx; {path} says what it is")
        if anchors:
            raise InputError(f"--anchors: goes with an .onnx; {path} says its own")
        return import_darknet(path, NoWeights() if shapes_only else weights, size)
    if weights is not None:
        raise InputError(f"--weights {weights}: goes with a .cfg, {path} holds its own")
    if spec is None:
        return import_onnx(path, size, anchors=anchors)
    if anchors:
        raise InputError(f"--anchors: go without --spec; {spec} has a place for them")
    given = ModelSpec.from_json(read_text(spec, _MAX_SPEC, "a spec is JSON"), str(spec))
    if given.names_from == "none":
        given = replace(given, names_from=f"file {printable(spec.name)}")
    return import_onnx(path, size, given, str(spec))


def refuse_pickle(path: Path) -> None:
    """Refuse checkpoints: reading them would run whatever is in them.

    Raises:
        InputError: It is one; the message has the command that makes an ONNX file of it.
    """
    if path.suffix.lower() in _PICKLES:
        raise InputError(
            f"{path}: a checkpoint can hold any program and is never loaded; make an ONNX file with its trainer: "
            f"yolo export model={path.name} format=onnx (YOLOv5: python export.py --weights {path.name} --include onnx)"
        )
