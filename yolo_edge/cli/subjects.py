"""From the models that a user named to what a benchmark measures."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from yolo_edge.benchmarks.rounds import Subject
from yolo_edge.cli.models import (
    adapt,
    check_one_size,
    check_suffix,
    export_in_memory,
    is_foreign_onnx,
    open_exported,
    spec_inside,
)
from yolo_edge.cli.options import sized_name
from yolo_edge.ondevice.errors import InputError, MissingSpecError
from yolo_edge.ondevice.files import printable, read_bytes, write_atomically
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES
from yolo_edge.ondevice.spec import ModelSpec


def find_subjects(
    models: Sequence[Path],
    folder: Path,
    *,
    weights: Path | None,
    names: str | None,
    resize: str | None,
    runtime: str,
    threads: Sequence[int],
    sizes: Sequence[tuple[int, int] | None] = (None,),
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
        sizes: To export a `.cfg`, or an `.onnx` of another trainer, for; None: its own.
        here: They will run on this machine; else what runs them need not be installed.

    Raises:
        InputError: A model or an option cannot be used.
    """
    if weights is not None and len(models) > 1:
        raise InputError(f"--weights {weights}: goes with one model, there are {len(models)}")
    found = []
    for number, (model, size) in enumerate((model, size) for model in models for size in sizes):
        path = model
        # bare, an .onnx of another program is measured as it is
        if model.suffix.lower() == ".cfg" or (size is not None and is_foreign_onnx(model)):
            path = folder / f"{number}.{'tflite' if runtime == 'tflite' else 'onnx'}"
            write_atomically(path, export_in_memory(model, weights, names, resize, runtime=runtime, size=size))
        elif weights is not None:
            raise InputError(f"--weights {weights}: goes with a .cfg, {model} holds its own")
        else:
            check_one_size(model, size)
        found.append(_subject(sized_name(model, size), path, names, resize, runtime, max(threads) if here else None))
    return found


def _subject(
    name: str, path: Path, names: str | None, resize: str | None, runtime: str, threads: int | None
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
    data = read_bytes(path, MAX_MODEL_BYTES)
    macs, traffic = _work(path, len(data), spec)
    return Subject(
        name=printable(name),
        path=str(path.absolute()),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        spec=None if spec is None else spec.to_json(),
        precision=None if spec is None else spec.precision,
        input=None if spec is None else (spec.input.width, spec.input.height),
        macs=macs,
        traffic_bytes=traffic,
        source=None if spec is None else _source(spec),
        notes=notes,
    )


def _source(spec: ModelSpec) -> str | None:
    """What tells one set of weights from another; see `Cell.source`."""
    digests = sorted(spec.provenance.sha256.values())
    if not digests:
        return None
    return printable(f"{spec.provenance.source} {hashlib.sha256(' '.join(digests).encode()).hexdigest()[:12]}")


_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE")  # fused with what computes


def _work(path: Path, size: int, spec: ModelSpec | None) -> tuple[int | None, int | None]:
    """Multiply-accumulates, and bytes moved, of an inference; None where they cannot be counted, or nothing counts."""
    try:
        if path.suffix.lower() == ".tflite":
            from yolo_edge.export.tflite.summary import summarize_tflite

            summary = summarize_tflite(path)
        else:
            from yolo_edge.export.summary import load_onnx, summarize

            summary = summarize(load_onnx(path))
    except (ModuleNotFoundError, InputError):
        return None, None
    shapes = [layer.output for layer in summary.layers if layer.kind.split()[0] not in _CONVERSIONS]
    if not summary.macs:
        return None, None
    known = [math.prod(side for side in shape if side is not None) for shape in shapes if None not in shape]
    if len(known) < len(shapes):
        return summary.macs, None
    of_element = 1 if spec is not None and spec.precision == "int8" else 4
    return summary.macs, size + 2 * of_element * sum(known)
