"""From the MODEL that a user named to a `Detector`."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from yolo_edge.devices.finding import FarDetector
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError, MissingSpecError
from yolo_edge.ondevice.files import check_readable, read_bytes, write_atomically
from yolo_edge.ondevice.names import rename_classes
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES
from yolo_edge.ondevice.runtimes.tflite_file import read_metadata
from yolo_edge.ondevice.spec import ModelSpec, replace_input

T = TypeVar("T")

SUFFIXES = (".cfg", ".onnx", ".tflite")


def check_suffix(model: Path) -> None:
    """Check that a MODEL argument is of a kind that commands take.

    Raises:
        InputError: It is not.
    """
    if model.suffix.lower() not in SUFFIXES:
        from yolo_edge.export.load import refuse_pickle

        refuse_pickle(model)
        raise InputError(f"{model}: expected a {', '.join(SUFFIXES)} file, got {model.suffix or 'no suffix'}")


def open_sized(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None = None,
    exact: bool = False,
    size: tuple[int, int] | None = None,
    anchors: Sequence[tuple[float, float]] = (),
    **options: Any,
) -> tuple[Detector, str]:
    """Load an exported file; or a `.cfg` or an `.onnx` of another trainer, exported in memory.

    Args:
        model: The MODEL argument.
        weights: The `--weights` option.
        names: The `--names` option.
        resize: The `--resize` option.
        spec_file: The `--spec` option.
        exact: The `--exact-resize` option.
        size: Of the input, (width, height); None: the model's own.
        anchors: The `--anchors` option.
        **options: Of `Detector`.

    Returns:
        The detector, and the SHA-256 of the file that it runs.

    Raises:
        InputError: A file or an option cannot be used, such as a size for an exported file, which has one.
    """
    if not _has_to_be_exported(model, weights, spec_file, anchors, options.get("runtime")):
        detector = _exported(model, size, lambda: open_exported(model, names, resize, exact, **options))
        if detector is not None:
            return detector, sha256_of(model)
    data = export_in_memory(model, weights, names, resize, spec_file, options.get("runtime"), size, anchors)
    return _open(data, exact, **options), hashlib.sha256(data).hexdigest()


def sha256_of(model: Path) -> str:
    """Of a model file, in hex.

    Raises:
        InputError: It cannot be read.
    """
    return hashlib.sha256(read_bytes(model, MAX_MODEL_BYTES)).hexdigest()


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


def far_detector(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None = None,
    exact: bool = False,
    size: tuple[int, int] | None = None,
    anchors: Sequence[tuple[float, float]] = (),
    *,
    folder: Path,
    **options: Any,
) -> FarDetector:
    """As `open_sized`, to be loaded on a device; what has to be exported for it is put into `folder`.

    Raises:
        InputError: A file or an option cannot be used.
    """
    if not _has_to_be_exported(model, weights, spec_file, anchors, options.get("runtime")):
        adapted = _exported(model, size, lambda: adapt(spec_inside(model), names, resize, exact))
        if adapted is not None:
            return FarDetector(model, adapted, **options)
    runtime = options.get("runtime")
    path = folder / f"{len(list(folder.iterdir()))}-{model.stem[:100]}.{'tflite' if runtime == 'tflite' else 'onnx'}"
    write_atomically(path, export_in_memory(model, weights, names, resize, spec_file, runtime, size, anchors))
    return FarDetector(path, adapt(spec_inside(path), None, None, exact), **options)


def _exported(model: Path, size: tuple[int, int] | None, take: Callable[[], T]) -> T | None:
    """What is taken from an exported file; None: it is another trainer's `.onnx`, and has to be exported first."""
    try:
        taken = take()
    except MissingSpecError:
        if model.suffix.lower() != ".onnx":
            raise
        return None
    check_one_size(model, size)
    return taken


def spec_inside(model: Path) -> ModelSpec:
    """The spec that an exported file carries. No runtime is needed for a `.tflite`.

    Raises:
        MissingSpecError: It carries none.
        InputError: The file cannot be used.
    """
    if model.suffix.lower() == ".tflite":
        check_readable(model)
        metadata = read_metadata(model, str(model))
    else:
        metadata = dict(open_runtime(model).metadata)
    return ModelSpec.from_metadata(metadata, str(model))


def is_foreign_onnx(model: Path) -> bool:
    """Whether a model is an `.onnx` that another program wrote.

    Raises:
        InputError: It is an `.onnx` that cannot be read.
    """
    if model.suffix.lower() != ".onnx":
        return False
    from yolo_edge.export.summary import read_spec_text

    return read_spec_text(model) is None


def _has_to_be_exported(
    model: Path,
    weights: Path | None,
    spec_file: Path | None,
    anchors: Sequence[tuple[float, float]],
    runtime: str | None,
) -> bool:
    """Whether a model is known to be no exported file; an `.onnx` may turn out to be none when it is opened.

    Raises:
        InputError: It is of no kind that commands take, or brings its own weights.
    """
    check_suffix(model)
    foreign = model.suffix.lower() == ".cfg" or spec_file is not None or bool(anchors)
    if runtime == "tflite":  # which loads no .onnx to ask it
        foreign = foreign or is_foreign_onnx(model)
    if not foreign and weights is not None:
        raise InputError(f"--weights {weights}: goes with a .cfg, {model} holds its own")
    return foreign


def adapt(spec: ModelSpec, names: str | None, resize: str | None, exact: bool = False) -> ModelSpec:
    """The spec with the options `--names`, `--resize` and `--exact-resize`.

    Raises:
        InputError: An option cannot be used.
    """
    if names is not None:
        spec = rename_classes(spec, names)
    if resize is not None:
        spec = replace_input(spec, resize=resize)
    return replace_input(spec, interpolation="LINEAR_EXACT") if exact else spec


def open_exported(model: Path, names: str | None, resize: str | None, exact: bool = False, **options: Any) -> Detector:
    """Load a file that carries a spec; arguments as of `open_sized`.

    Raises:
        MissingSpecError: It carries none.
        InputError: A file or an option cannot be used.
    """
    return _open(model, exact, names, resize, **options)


def _open(
    model: Path | bytes, exact: bool, names: str | None = None, resize: str | None = None, **options: Any
) -> Detector:
    detector = Detector(model, **options)
    spec = adapt(detector.spec, names, resize, exact)
    return detector if spec == detector.spec else Detector(model, spec, **options)


def export_in_memory(
    model: Path,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    spec_file: Path | None = None,
    runtime: str | None = None,
    size: tuple[int, int] | None = None,
    anchors: Sequence[tuple[float, float]] = (),
) -> bytes:
    """The fp32 file of a `.cfg` or an `.onnx` of another trainer, ONNX or what `runtime` takes; as `open_sized`.

    Raises:
        InputError: A file or an option cannot be used.
    """
    from yolo_edge.cli.output import note
    from yolo_edge.export import canonicalize, write_onnx, write_tflite
    from yolo_edge.export.load import load_model

    source = load_model(model, weights=weights, size=size, names=names, resize=resize, spec=spec_file, anchors=anchors)
    for text in source.notes:
        note(f"note: {text}")
    write = write_tflite if runtime == "tflite" else write_onnx
    return write(canonicalize(source.graph), source.spec)


def read_spec(model: Path) -> ModelSpec:
    """The spec of a MODEL argument, which need not run: a `.cfg` without its weights, a `.tflite` without a runtime.

    Raises:
        InputError: The file cannot be used.
    """
    from yolo_edge.export.load import load_model

    check_suffix(model)
    spec = None if model.suffix.lower() == ".cfg" else _exported(model, None, lambda: spec_inside(model))
    return load_model(model, shapes_only=True).spec if spec is None else spec
