"""`export`: one trained model → every file that was asked for, each verified before it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_writer import PRECISIONS, write_onnx
from yolo_edge.export.source import SourceModel, canonicalize
from yolo_edge.export.verify import Reference, VerificationError, speed_ratio
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_output_folder, write_atomically
from yolo_edge.ondevice.spec import ModelSpec

FORMATS = ("onnx",)


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written, as `export --json` reports it.

    Attributes:
        path: Where it is.
        format: "onnx".
        precision: "fp32" or "fp16".
        size: Input [width, height] in pixels.
        head: What the outputs are: "raw".
        input: Type of the input: "float32".
        bytes: Size of the file.
        snr_db: Against the source, one value a head.
        agreement: AP50 with the source's detections as labels, 0..1; None: not measured, as no pictures were given or
            nothing was found in them.
        fused: Convolutions that the runtime runs as one kernel with their activation.
        convolutions: All of them.
        speed_vs_fp32: fp32's time as a multiple of this file's, one thread, on this machine; 1 for fp32 itself.
        verified: Always true: a file that fails is not written.
    """

    path: str
    format: str
    precision: str
    size: tuple[int, int]
    head: str
    input: str
    bytes: int
    snr_db: tuple[float, ...]
    agreement: float | None
    fused: int
    convolutions: int
    speed_vs_fp32: float
    verified: bool


@dataclass(frozen=True)
class Export:
    """What an export gave.

    Attributes:
        files: In the order size, precision.
        spec: Of the last file, but for its precision.
    """

    files: tuple[ExportedFile, ...]
    spec: ModelSpec


def file_name(stem: str, size: tuple[int, int], precision: str, suffix: str) -> str:
    """`<stem>-<size>-<precision>.<suffix>`; the size is one number when both sides are equal."""
    width, height = size
    return f"{stem}-{width if width == height else f'{width}x{height}'}-{precision}.{suffix}"


def export(
    model: Path,
    output: Path,
    *,
    weights: Path | None = None,
    formats: Sequence[str] = FORMATS,
    precisions: Sequence[str] = ("fp32",),
    sizes: Sequence[tuple[int, int] | None] = (None,),
    resize: str | None = None,
    names: str | None = None,
    pictures: Sequence[np.ndarray] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> Export:
    """Export a model.

    Everything that can be wrong with the input is found before the first file is written.

    Args:
        model: A darknet `.cfg`.
        output: The folder for the files; made when it is not there.
        weights: The `.weights`; None: beside the cfg.
        formats: Of `FORMATS`.
        precisions: Of `PRECISIONS`.
        sizes: Input (width, height) each; None: the model's own.
        resize: "stretch" or "letterbox"; None: as the model was trained.
        names: "coco", "voc" or a file with a class name a line.
        pictures: For verifying: BGR, uint8 [height, width, 3]; without any, seeded noise serves.
        progress: Told what is done next.

    Raises:
        InputError: A file or an option cannot be used.
        VerificationError: A file does not compute what its source computes; it is not written.
    """
    _check_choices("format", formats, FORMATS)
    _check_choices("precision", precisions, PRECISIONS)
    if not sizes:
        raise InputError("export: no size was given")
    check_output_folder(output)
    for size in sizes:  # structure, names and sizes, before anything is written
        spec = load_model(model, weights=weights, size=size, resize=resize, names=names, shapes_only=True).spec
    exported = []
    for size in sizes:
        source = load_model(model, weights=weights, size=size, resize=resize, names=names)
        width_height = (source.spec.input.width, source.spec.input.height)
        progress(f"{source.stem} at {width_height[0]}x{width_height[1]}: running the source")
        reference = Reference(source.graph, source.spec, pictures)
        graph = canonicalize(source.graph)
        baseline = write_onnx(graph, source.spec)
        for precision in precisions:
            path = output / file_name(source.stem, width_height, precision, "onnx")
            progress(f"{path.name}: verifying")
            data = baseline if precision == "fp32" else write_onnx(graph, source.spec, precision)
            exported.append(_verify_and_write(path, data, precision, source, reference, baseline))
    return Export(tuple(exported), spec)


def _verify_and_write(
    path: Path, data: bytes, precision: str, source: SourceModel, reference: Reference, baseline: bytes
) -> ExportedFile:
    try:
        seen = reference.verify(data, precision)
    except VerificationError as error:
        raise VerificationError(f"{path}: {error}") from error
    speed = 1.0 if data is baseline else speed_ratio(baseline, data, reference.inputs[0][0])
    write_atomically(path, data)
    spec = source.spec.input
    return ExportedFile(
        path=str(path),
        format="onnx",
        precision=precision,
        size=(spec.width, spec.height),
        head="raw",
        input=spec.dtype,
        bytes=len(data),
        snr_db=tuple(round(value, 2) for value in seen.snr_db),
        agreement=seen.agreement,
        fused=seen.fused,
        convolutions=seen.convolutions,
        speed_vs_fp32=round(speed, 3),
        verified=True,
    )


def _check_choices(option: str, values: Sequence[str], choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise InputError(f"{option} {value!r}: there is {' and '.join(choices)}")
