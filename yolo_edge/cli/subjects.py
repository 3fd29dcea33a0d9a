"""From the models that a user named to what a benchmark measures."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from yolo_edge.benchmarks.rounds import Subject
from yolo_edge.cli.models import adapt, check_suffix, export_in_memory, open_exported, spec_inside
from yolo_edge.ondevice.errors import InputError, MissingSpecError
from yolo_edge.ondevice.files import printable, read_bytes, write_atomically
from yolo_edge.ondevice.spec import ModelSpec

_MAX_BYTES = 1 << 31


def find_subjects(
    models: Sequence[Path],
    folder: Path,
    *,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    runtime: str,
    threads: Sequence[int],
    here: bool = True,
) -> list[Subject]:
    """Load each model once, so that nothing is measured before all are known to work.

    Args:
        models: The MODEL arguments.
        folder: For what has to be exported.
        weights: The `--weights` option.
        names: The `--names` option.
        resize: The `--resize` option.
        runtime: The `--runtime` option.
        threads: Of the cells; a model is loaded with the most of them.
        here: They will run on this machine; else what runs them need not be installed.

    Raises:
        InputError: A model or an option cannot be used.
    """
    if weights is not None and len(models) > 1:
        raise InputError(f"--weights {weights}: goes with one model, there are {len(models)}")
    found = []
    for number, model in enumerate(models):
        path = model
        if model.suffix.lower() == ".cfg":
            path = folder / f"{number}.{'tflite' if runtime == 'tflite' else 'onnx'}"
            write_atomically(path, export_in_memory(model, weights, names, resize, runtime=runtime))
        elif weights is not None:
            raise InputError(f"--weights {weights}: goes with a .cfg, {model} holds its own")
        found.append(_subject(model, path, names, resize, runtime, max(threads) if here else None))
    return found


def _subject(
    model: Path, path: Path, names: str | None, resize: str | None, runtime: str, threads: int | None
) -> Subject:
    notes: tuple[str, ...] = ()
    spec: ModelSpec | None = None
    check_suffix(path)
    try:
        if threads is None:
            spec = adapt(spec_inside(path), names, resize)
        else:
            spec = open_exported(path, names, resize, runtime=runtime, threads=threads).spec
    except MissingSpecError:
        notes = ("no spec in the file: the inference alone was measured, of made-up values",)
    data = read_bytes(path, _MAX_BYTES)
    return Subject(
        name=printable(str(model)),
        path=str(path.absolute()),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        spec=None if spec is None else spec.to_json(),
        precision=None if spec is None else spec.precision,
        input=None if spec is None else (spec.input.width, spec.input.height),
        macs=_macs(path),
        notes=notes,
    )


def _macs(path: Path) -> int | None:
    """Multiply-accumulates of an ONNX file; None where they cannot be counted, or nothing that counts is installed."""
    if path.suffix.lower() != ".onnx":
        return None
    try:
        from yolo_edge.export.summary import load_onnx, summarize

        return summarize(load_onnx(path)).macs or None
    except (ModuleNotFoundError, InputError):
        return None
