"""`export`: one trained model → every file that was asked for, each verified before it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo_edge.export.graph import Graph
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_heads import HEADS, MAX_ROWS
from yolo_edge.export.onnx_input import INPUTS
from yolo_edge.export.onnx_writer import PRECISIONS, OnnxOptions, write_onnx
from yolo_edge.export.source import canonicalize
from yolo_edge.export.verify import Reference, Verification, VerificationError, check_decoded, check_nms, speed_ratio
from yolo_edge.ondevice.detector import check_options
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_output_folder, write_atomically
from yolo_edge.ondevice.spec import ModelSpec, NmsOptions

FORMATS = ("onnx",)


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written, as `export --json` reports it.

    Attributes:
        path: Where it is.
        format: "onnx".
        precision: "fp32" or "fp16".
        size: Input [width, height] in pixels.
        head: What the outputs are: "raw", "decoded" or "nms".
        input: Type of the input: "float32" or "uint8".
        bytes: Size of the file.
        snr_db: Against the source, one value a head.
        agreement: AP50 with the source's detections as labels, 0..1; None: not measured, as the source found nothing
            in the pictures, or in the noise that stands in for them.
        fused: Convolutions that the runtime runs as one kernel with their activation.
        convolutions: All of them.
        speed_vs_fp32: Time of the same file in fp32 over the time of this one, one thread, on this machine.
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
        spec: Of the source, at the last size.
    """

    files: tuple[ExportedFile, ...]
    spec: ModelSpec


def file_name(stem: str, size: tuple[int, int], options: OnnxOptions) -> str:
    """`<stem>-<size>-<precision>[-<head>][-<input>].onnx`; head and input only when they are not the default.

    The size is one number when both sides are equal.
    """
    width, height = size
    parts = [stem, str(width) if width == height else f"{width}x{height}", options.precision]
    default = OnnxOptions()
    parts += [options.head] if options.head != default.head else []
    parts += [options.input] if options.input != default.input else []
    return "-".join(parts) + ".onnx"


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a model.

    Attributes:
        formats: Of `FORMATS`.
        precisions: Of `onnx_writer.PRECISIONS`.
        sizes: Input (width, height) each; None: the model's own.
        head: Of `onnx_heads.HEADS`.
        input: Of `onnx_input.INPUTS`.
        nms: For head "nms".
        resize: "stretch" or "letterbox"; None: as the model was trained.
        names: "coco", "voc" or a file with a class name a line.
        licence: Of the weights; None: what a licence file beside them says.
    """

    formats: Sequence[str] = FORMATS
    precisions: Sequence[str] = ("fp32",)
    sizes: Sequence[tuple[int, int] | None] = (None,)
    head: str = "raw"
    input: str = "float32"
    nms: NmsOptions = field(default_factory=NmsOptions)
    resize: str | None = None
    names: str | None = None
    licence: str | None = None


def export(
    model: Path,
    output: Path,
    options: ExportOptions | None = None,
    *,
    weights: Path | None = None,
    pictures: Sequence[np.ndarray] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> Export:
    """Export a model.

    Everything that can be wrong with the input is found before the first file is written.

    Args:
        model: A darknet `.cfg`.
        output: The folder for the files; made when it is not there.
        options: What to make of it.
        weights: The `.weights`; None: beside the cfg.
        pictures: For verifying: BGR, uint8 [height, width, 3]; without any, seeded noise serves.
        progress: Told what is done next.

    Raises:
        InputError: A file or an option cannot be used.
        VerificationError: A file does not compute what its source computes; it is not written.
    """
    options = options or ExportOptions()
    _check(options)
    check_output_folder(output)
    loading: dict[str, Any] = {
        "weights": weights,
        "resize": options.resize,
        "names": options.names,
        "licence": options.licence,
    }
    for size in options.sizes:  # structure, names and sizes, before anything is written
        load_model(model, size=size, shapes_only=True, **loading)
    exported = []
    for size in options.sizes:
        source = load_model(model, size=size, **loading)
        width, height = source.spec.input.width, source.spec.input.height
        progress(f"{source.stem} at {width}x{height}: running the source")
        reference = Reference(source.graph, source.spec, pictures)
        graph = canonicalize(source.graph)
        baseline = write_onnx(graph, source.spec, _onnx_options(options, "fp32"))
        for precision in options.precisions:
            chosen = _onnx_options(options, precision)
            path = output / file_name(source.stem, (width, height), chosen)
            progress(f"{path.name}: verifying")
            data = baseline if precision == "fp32" else write_onnx(graph, source.spec, chosen)
            try:
                seen = _verify(graph, source.spec, chosen, data, reference)
            except VerificationError as error:
                raise VerificationError(f"{path}: {error}") from error
            speed = 1.0 if data is baseline else speed_ratio(baseline, data, reference.pictures[0])
            write_atomically(path, data)
            exported.append(_report(path, (width, height), chosen, len(data), seen, speed))
    return Export(tuple(exported), source.spec)


def _onnx_options(options: ExportOptions, precision: str) -> OnnxOptions:
    return OnnxOptions(precision, options.head, options.input, options.nms)


def _verify(graph: Graph, spec: ModelSpec, options: OnnxOptions, data: bytes, reference: Reference) -> Verification:
    """Compare the raw heads with the source, and a decoder in the file with ours outside."""
    if options.head == "raw":
        return reference.verify(data, options.precision)
    raw = write_onnx(graph, spec, replace(options, head="raw"))
    seen = reference.verify(raw, options.precision)
    decoded = data if options.head == "decoded" else write_onnx(graph, spec, replace(options, head="decoded"))
    check_decoded(raw, decoded, reference.pictures)
    if options.head == "nms":
        check_nms(decoded, data, reference.pictures, options.nms)
        # with every box let in: trained networks find nothing in noise
        everything = replace(options.nms, confidence=0.0)
        check_nms(decoded, write_onnx(graph, spec, replace(options, nms=everything)), reference.pictures, everything)
    return seen


def _report(
    path: Path, size: tuple[int, int], options: OnnxOptions, length: int, seen: Verification, speed: float
) -> ExportedFile:
    return ExportedFile(
        path=str(path),
        format="onnx",
        precision=options.precision,
        size=size,
        head=options.head,
        input=options.input,
        bytes=length,
        snr_db=tuple(round(value, 2) for value in seen.snr_db),
        agreement=seen.agreement,
        fused=seen.fused,
        convolutions=seen.convolutions,
        speed_vs_fp32=round(speed, 3),
        verified=True,
    )


def _check(options: ExportOptions) -> None:
    for option, values, choices in (
        ("format", options.formats, FORMATS),
        ("precision", options.precisions, PRECISIONS),
        ("head", [options.head], HEADS),
        ("input", [options.input], INPUTS),
    ):
        for value in values:
            if value not in choices:
                raise InputError(f"{option} {value!r}: there is {' and '.join(choices)}")
        if not values:
            raise InputError(f"{option}: none was given")
    if options.nms.max_detections > MAX_ROWS:
        raise InputError(f"max_detections: at most {MAX_ROWS} rows in a file, got {options.nms.max_detections}")
    check_options(options.nms.confidence, options.nms.iou, options.nms.max_detections)
    if not options.sizes:
        raise InputError("size: none was given")
