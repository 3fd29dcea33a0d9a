"""From the MODEL that a user named to a `Detector`."""

from pathlib import Path
from typing import Any

from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.names import rename_classes
from yolo_edge.ondevice.spec import replace_input


def open_detector(model: Path, weights: Path | None, names: str | None, resize: str | None, **options: Any) -> Detector:
    """Load a `.cfg` (exported in memory) or an exported file.

    Args:
        model: The MODEL argument.
        weights: The `--weights` option.
        names: The `--names` option.
        resize: The `--resize` option.
        **options: Of `Detector`.

    Raises:
        InputError: A file or an option cannot be used.
    """
    if model.suffix.lower() == ".cfg":
        return Detector(export_in_memory(model, weights, names, resize), **options)
    if model.suffix.lower() != ".onnx":
        raise InputError(f"{model}: expected a .cfg or .onnx file, got {model.suffix or 'no suffix'}")
    if weights is not None:
        raise InputError(f"--weights {weights}: goes with a .cfg, {model} holds its own")
    detector = Detector(model, **options)
    if names is None and resize is None:
        return detector
    spec = detector.spec
    if names is not None:
        spec = rename_classes(spec, names)
    if resize is not None:
        spec = replace_input(spec, resize=resize)
    return Detector(model, spec, **options)


def export_in_memory(model: Path, weights: Path | None, names: str | None, resize: str | None) -> bytes:
    """The ONNX file of a `.cfg`, in fp32; arguments as of `open_detector`.

    Raises:
        InputError: A file or an option cannot be used.
    """
    from yolo_edge.export import canonicalize, write_onnx
    from yolo_edge.export.load import load_model

    source = load_model(model, weights=weights, names=names, resize=resize)
    return write_onnx(canonicalize(source.graph), source.spec)
