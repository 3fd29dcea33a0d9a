"""From the MODEL that a user named to a `Detector`."""

import hashlib
from pathlib import Path
from typing import Any

from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError, MissingSpecError
from yolo_edge.ondevice.files import read_bytes
from yolo_edge.ondevice.names import rename_classes
from yolo_edge.ondevice.spec import ModelSpec, replace_input

SUFFIXES = (".cfg", ".onnx", ".tflite")
MAX_MODEL_BYTES = 1 << 31


def check_suffix(model: Path) -> None:
    """Check that a MODEL argument is of a kind that commands take.

    Raises:
        InputError: It is not.
    """
    if model.suffix.lower() not in SUFFIXES:
        from yolo_edge.export.load import refuse_pickle

        refuse_pickle(model)
        raise InputError(f"{model}: expected a {', '.join(SUFFIXES)} file, got {model.suffix or 'no suffix'}")


def open_detector(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None = None,
    **options: Any,
) -> Detector:
    """Load an exported file; or a `.cfg` or an `.onnx` of another trainer, exported in memory.

    Args:
        model: The MODEL argument.
        weights: The `--weights` option.
        names: The `--names` option.
        resize: The `--resize` option.
        spec_file: The `--spec` option.
        **options: Of `Detector`.

    Raises:
        InputError: A file or an option cannot be used.
    """
    return _open(model, weights, names, resize, spec_file, None, **options)[0]


def open_hashed(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None,
    size: tuple[int, int] | None,
    **options: Any,
) -> tuple[Detector, str]:
    """The same at a size, and the SHA-256 of the file that it runs.

    Args:
        model: The MODEL argument.
        weights: The `--weights` option.
        names: The `--names` option.
        resize: The `--resize` option.
        spec_file: The `--spec` option.
        size: Of the input, (width, height); None: the model's own.
        **options: Of `Detector`.

    Raises:
        InputError: A file or an option cannot be used; or an exported file, which has one size.
    """
    detector, exported = _open(model, weights, names, resize, spec_file, size, **options)
    return detector, hashlib.sha256(read_bytes(model, MAX_MODEL_BYTES) if exported is None else exported).hexdigest()


def _open(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None,
    size: tuple[int, int] | None,
    **options: Any,
) -> tuple[Detector, bytes | None]:
    """A detector, and the bytes of the file that was made for it, if one was."""
    check_suffix(model)
    foreign = model.suffix.lower() == ".cfg" or spec_file is not None
    if model.suffix.lower() == ".onnx" and options.get("runtime") == "tflite":  # which loads no such file to ask it
        from yolo_edge.export.summary import read_spec_text

        foreign = foreign or read_spec_text(model) is None
    if not foreign:
        if weights is not None:
            raise InputError(f"--weights {weights}: goes with a .cfg, {model} holds its own")
        try:
            detector = open_exported(model, names, resize, **options)
        except MissingSpecError:
            if model.suffix.lower() != ".onnx":
                raise
        else:
            check_one_size(model, size)
            return detector, None
    data = export_in_memory(model, weights, names, resize, spec_file, options.get("runtime"), size)
    return Detector(data, **options), data


def check_one_size(model: Path, size: tuple[int, int] | None) -> None:
    """Refuse `--size` for an exported file.

    Raises:
        InputError: A size was given.
    """
    if size is not None:
        raise InputError(
            f"--size {size[0]}x{size[1]}: an exported file has one size, {model} is one; `yolo-edge export --size` "
            "makes a file for each"
        )


def open_exported(model: Path, names: str | None, resize: str | None, **options: Any) -> Detector:
    """Load a file that carries a spec; arguments as of `open_detector`.

    Raises:
        MissingSpecError: It carries none.
        InputError: A file or an option cannot be used.
    """
    detector = Detector(model, **options)
    if names is None and resize is None:
        return detector
    spec = detector.spec
    if names is not None:
        spec = rename_classes(spec, names)
    if resize is not None:
        spec = replace_input(spec, resize=resize)
    return Detector(model, spec, **options)


def export_in_memory(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None = None,
    runtime: str | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """The fp32 file of a `.cfg` or an `.onnx` of another trainer, ONNX or what `runtime` takes; as `open_hashed`.

    Raises:
        InputError: A file or an option cannot be used.
    """
    from yolo_edge.cli.output import note
    from yolo_edge.export import canonicalize, write_onnx, write_tflite
    from yolo_edge.export.load import load_model

    source = load_model(model, weights=weights, size=size, names=names, resize=resize, spec=spec_file)
    for text in source.notes:
        note(f"note: {text}")
    write = write_tflite if runtime == "tflite" else write_onnx
    return write(canonicalize(source.graph), source.spec)


def read_spec(model: Path) -> ModelSpec:
    """The spec of a `.cfg` (its weights are not needed) or an exported file.

    Raises:
        InputError: The file cannot be used.
    """
    if model.suffix.lower() == ".cfg":
        from yolo_edge.export.load import load_model

        return load_model(model, shapes_only=True).spec
    return open_detector(model, None, None, None).spec
