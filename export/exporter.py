"""`export`: one trained model → every file that was asked for, each verified before it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from yolo_edge.datasets import load_images
from yolo_edge.export import networks as making
from yolo_edge.export.job import (
    AUTO,
    FORMATS,
    PLANNED,
    WRITERS,
    ExportOptions,
    Job,
    Network,
    Writer,
    file_name,
    plan_name,
)
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions, check_choice
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.control import Controlled
from yolo_edge.export.quantization.pictures import Pictures
from yolo_edge.export.quantization.ranges import MODES
from yolo_edge.export.source import canonicalize
from yolo_edge.export.verify import Reference, Verification, VerificationError, check_decoded, check_nms
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_output_folder, write_atomically
from yolo_edge.ondevice.runtimes import check_runtime
from yolo_edge.ondevice.spec import PRECISIONS, ModelSpec

_MOST_VERIFIED = 16


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written, as `export --json` reports it.

    Attributes:
        path: Where it is.
        format: "onnx" or "tflite".
        precision: Of `spec.PRECISIONS`.
        size: Input [width, height] in pixels.
        head: What the outputs are: "raw", "decoded" or "nms".
        input: Type of the input: "float32", "uint8" or "int8".
        bytes: Size of the file.
        snr_db: Against the source, one value a head.
        agreement: AP50 with the source's detections as labels, 0..1; None: not measured, as the source found nothing
            in the pictures, or in the noise that stands in for them.
        fused: Convolutions that the runtime runs as one kernel with their activation (`fusion.count_fused`).
        convolutions: All of them.
        speed_vs_fp32: Time of the same file in fp32, of the same format, over the time of this one, one thread, on this
            machine.
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
        files: In the order size, format, precision.
        spec: Of the source, at the last size.
        notes: What a person should know of the source.
    """

    files: tuple[ExportedFile, ...]
    spec: ModelSpec
    notes: tuple[str, ...] = ()


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
        model: A darknet `.cfg`, or an `.onnx` of another trainer.
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
        "spec": options.spec,
        "anchors": options.anchors,
    }
    for size in options.sizes:  # structure, names and sizes, before anything is written
        load_model(model, size=size, shapes_only=True, **loading)
    kept = making.read_kept(options.int8)
    chosen: Pictures | None = None
    notes: list[str] = []
    pictures = list(pictures)
    quantizes = bool({*PLANNED, AUTO}.intersection(options.precisions))
    if quantizes and options.int8.pictures:
        chosen = Pictures.choose(options.int8.pictures, options.int8.count, options.int8.seed)
        # what is reported comes from pictures that nothing was fitted to
        pictures = [item.get() for item in load_images(chosen.held_back[:_MOST_VERIFIED], lambda image: image)]
    exported = []
    for size in options.sizes:
        source = load_model(model, size=size, **loading)
        width, height = source.spec.input.width, source.spec.input.height
        progress(f"{source.stem} at {width}x{height}: running the source")
        reference = Reference(source.graph, source.spec, pictures)
        graph = canonicalize(source.graph)
        job = Job(graph, source, options, output, reference, progress)
        controlled: Controlled | None = None
        if options.int8.control is not None and chosen is not None:
            networks, controlled = making.control(job, chosen, options.int8.control, notes)
        else:
            networks = making.make_networks(job, chosen, kept, notes)
        for format_ in options.formats:
            if AUTO in options.precisions and controlled is not None:
                networks = making.choose(job, format_, controlled, notes)
            files = _write_format(job, networks, format_)
            exported += files
            notes += [_slower(file) for file in files if file.precision == "int8" and file.speed_vs_fp32 < 1]
    return Export(tuple(exported), source.spec, (*source.notes, *dict.fromkeys(notes)))


def _slower(file: ExportedFile) -> str:
    slower = 1 / file.speed_vs_fp32
    return f"{Path(file.path).name} takes {slower:.2f} times as long as fp32 on this machine; measure it on yours"


def _write_format(job: Job, networks: Mapping[str, Network], format_: str) -> list[ExportedFile]:
    """Write and verify the files of one size in one format."""
    source, spec, size, write = job.source, job.source.spec, job.size, WRITERS[format_]
    baseline = job.write(format_, job.graph, "fp32")
    exported = []
    for precision, network in networks.items():
        chosen = job.options.file(precision)
        path = job.output / file_name(source.stem, size, chosen, format_)
        job.progress(f"{path.name}: verifying")
        data = baseline if precision == "fp32" else write(network, spec, chosen)
        try:
            seen = _verify(write, network, spec, chosen, data, job.reference)
        except VerificationError as error:
            raise VerificationError(f"{path}: {error}") from error
        speed = 1.0 if data is baseline else job.ratio(baseline, data)
        if isinstance(network, QuantizedGraph):  # first: an int8 file never lies there without its plan
            write_atomically(job.output / plan_name(source.stem, size, precision), network.plan.to_json())
        write_atomically(path, data)
        exported.append(_report(path, format_, size, chosen, len(data), seen, speed))
    return exported


def _verify(
    write: Writer, network: Network, spec: ModelSpec, options: FileOptions, data: bytes, reference: Reference
) -> Verification:
    """Compare the raw heads with the source, and a decoder in the file with ours outside."""
    if options.head == "raw":
        return reference.verify(data, options.precision)
    raw = write(network, spec, replace(options, head="raw"))
    seen = reference.verify(raw, options.precision)
    decoded = data if options.head == "decoded" else write(network, spec, replace(options, head="decoded"))
    check_decoded(raw, decoded, reference.pictures)
    if options.head == "nms":
        check_nms(decoded, data, reference.pictures, options.nms)
        # with every box let in: trained networks find nothing in noise
        everything = replace(options.nms, confidence=0.0)
        check_nms(decoded, write(network, spec, replace(options, nms=everything)), reference.pictures, everything)
    return seen


def _report(
    path: Path,
    format_: str,
    size: tuple[int, int],
    options: FileOptions,
    length: int,
    seen: Verification,
    speed: float,
) -> ExportedFile:
    return ExportedFile(
        path=str(path),
        format=format_,
        precision=options.precision,
        size=size,
        head=options.head,
        input=options.resolved(format_).input or "",
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
    ):
        for value in values if list(values) != [AUTO] else ():
            check_choice(option, value, choices)
        if not values:
            raise InputError(f"{option}: none was given")
    precisions = options.precisions if AUTO not in options.precisions else ("fp32", "fp16", "int8")
    for precision in precisions:
        options.file(precision).check()
    if AUTO in options.precisions and options.int8.control is None:
        raise InputError("precision auto needs a limit, and pictures: --max-drop with --data, or --min-agreement")
    check_choice("range", options.int8.ranges, MODES)
    if options.int8.count < 2:
        raise InputError(f"calibration-images: expected 2 or more, got {options.int8.count}")
    planned = [precision for precision in PLANNED if precision in options.precisions]
    if planned and not options.int8.pictures and options.int8.plan is None:
        raise InputError(
            f"precision {planned[0]} needs pictures like those that the model will see: --calibration DIR (16 or more; "
            "without labels), or --plan FILE of an earlier export"
        )
    for format_, precision in product(options.formats, precisions):
        options.file(precision).resolved(format_)
    if options.int8.plan is not None and not planned and AUTO not in options.precisions:
        raise InputError("--plan goes with --precision int8 or int8x16")
    if "int8" in (options.input, options.output_type) and not {"int8", AUTO} & set(options.precisions):
        raise InputError("int8 inputs and outputs go with --precision int8")
    if options.int8.plan is not None and len(options.sizes) > 1:
        raise InputError("--plan: is for one size")
    if not options.sizes:
        raise InputError("size: none was given")
    for format_ in options.formats:
        check_runtime(f".{format_}")  # files are run before they are written
