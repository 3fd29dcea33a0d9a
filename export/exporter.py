"""`export`: one trained model → every file that was asked for, each verified before it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from yolo_edge.datasets import load_images
from yolo_edge.export.graph import Graph
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.options import PRECISIONS, FileOptions, check_choice
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.choose import Quantization, from_plan, quantize
from yolo_edge.export.quantization.pictures import DEFAULT_COUNT, Pictures
from yolo_edge.export.quantization.plan import QuantizationPlan, read_plan
from yolo_edge.export.quantization.ranges import MODES
from yolo_edge.export.source import SourceModel, canonicalize
from yolo_edge.export.tflite import write_tflite
from yolo_edge.export.verify import Reference, Verification, VerificationError, check_decoded, check_nms, speed_ratio
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_output_folder, write_atomically
from yolo_edge.ondevice.runtimes import check_runtime
from yolo_edge.ondevice.spec import ModelSpec, NmsOptions

Network: TypeAlias = Graph | QuantizedGraph
Writer: TypeAlias = Callable[[Network, ModelSpec, FileOptions], bytes]

# format, which is also the suffix of the files → what writes it, the runtime that runs it
WRITERS: dict[str, Writer] = {"onnx": write_onnx, "tflite": write_tflite}
FORMATS = tuple(WRITERS)
_MOST_VERIFIED = 16


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written, as `export --json` reports it.

    Attributes:
        path: Where it is.
        format: "onnx" or "tflite".
        precision: "fp32", "fp16" or "int8".
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


def file_name(stem: str, size: tuple[int, int], options: FileOptions, format_: str = "onnx") -> str:
    """`<stem>-<size>-<precision>[-<head>][-<input>].<format>`; head and input only when they are not the default.

    The size is one number when both sides are equal.
    """
    width, height = size
    parts = [stem, str(width) if width == height else f"{width}x{height}", options.precision]
    default = FileOptions(options.precision).resolved(format_)
    parts += [options.head] if options.head != default.head else []
    parts += [options.input] if options.input not in (None, default.input) else []
    return f"{'-'.join(parts)}.{format_}"


@dataclass(frozen=True)
class Int8Options:
    """How int8 files are made.

    Attributes:
        pictures: To calibrate with; int8 wants them, or a plan.
        count: How many of them, at most.
        seed: Of the draw, and of all that is random.
        ranges: Of `ranges.MODES`.
        plan: A plan that was kept, instead of pictures.
    """

    pictures: Sequence[Path] = ()
    count: int = DEFAULT_COUNT
    seed: int = 0
    ranges: str = "auto"
    plan: Path | None = None


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a model.

    Attributes:
        formats: Of `FORMATS`.
        precisions: Of `options.PRECISIONS`.
        sizes: Input (width, height) each; None: the model's own.
        head: Of `options.HEADS`.
        input: Of `options.INPUTS`; None: what is usual for the format and the precision.
        nms: For head "nms".
        resize: "stretch" or "letterbox"; None: as the model was trained.
        names: "coco", "voc" or a file with a class name a line.
        licence: Of the weights; None: what a licence file beside them says.
        spec: A file that says what an `.onnx` is, where that is not recognised.
        anchors: (width, height) in pixels of the input of an `.onnx` that does not hold them, from fine to coarse.
        output_type: Of `options.OUTPUT_TYPES`, of int8 files; None: what is usual for the format.
        int8: How int8 files are made.
    """

    formats: Sequence[str] = ("onnx",)
    precisions: Sequence[str] = ("fp32",)
    sizes: Sequence[tuple[int, int] | None] = (None,)
    head: str = "raw"
    input: str | None = None
    nms: NmsOptions = field(default_factory=NmsOptions)
    resize: str | None = None
    names: str | None = None
    licence: str | None = None
    spec: Path | None = None
    anchors: Sequence[tuple[float, float]] = ()
    output_type: str | None = None
    int8: Int8Options = field(default_factory=Int8Options)

    def file(self, precision: str) -> FileOptions:
        """The options of one file; those that only int8 has are left out of others."""
        integers = precision == "int8"
        input_ = None if self.input == "int8" and not integers else self.input
        return FileOptions(precision, self.head, input_, self.nms, self.output_type if integers else None)


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
    plan = read_plan(options.int8.plan) if options.int8.plan is not None else None
    chosen: Pictures | None = None
    notes: list[str] = []
    pictures = list(pictures)
    if "int8" in options.precisions and options.int8.pictures:
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
        networks: dict[str, Network] = dict.fromkeys(options.precisions, graph)
        if "int8" in networks:
            made = _quantize(graph, source, chosen, plan, options.int8, progress)
            networks["int8"] = made.network
            notes += made.notes
        for format_ in options.formats:
            files = _write_format(graph, networks, source, format_, options, output, reference, progress)
            exported += files
            notes += [_slower(file) for file in files if file.precision == "int8" and file.speed_vs_fp32 < 1]
    return Export(tuple(exported), source.spec, (*source.notes, *dict.fromkeys(notes)))


def _slower(file: ExportedFile) -> str:
    slower = 1 / file.speed_vs_fp32
    return f"{Path(file.path).name} takes {slower:.2f} times as long as fp32 on this machine; measure it on yours"


def plan_name(stem: str, size: tuple[int, int]) -> str:
    """The file that keeps the plan of int8 files: `<stem>-<size>-int8.plan.json`."""
    return file_name(stem, size, FileOptions("int8")).removesuffix(".onnx") + ".plan.json"


def _quantize(
    graph: Graph,
    source: SourceModel,
    pictures: Pictures | None,
    plan: QuantizationPlan | None,
    options: Int8Options,
    progress: Callable[[str], None],
) -> Quantization:
    if plan is not None:
        return from_plan(graph, plan, str(options.plan))
    if pictures is None:
        raise InputError("precision int8: neither pictures nor a plan")
    return quantize(
        graph,
        source.spec,
        pictures,
        ranges=options.ranges,
        seed=options.seed,
        progress=lambda what: progress(f"{source.stem}: {what}"),
    )


def _write_format(
    graph: Graph,
    networks: Mapping[str, Network],
    source: SourceModel,
    format_: str,
    options: ExportOptions,
    output: Path,
    reference: Reference,
    progress: Callable[[str], None],
) -> list[ExportedFile]:
    """Write and verify the files of one size in one format."""
    spec, write = source.spec, WRITERS[format_]
    size = (spec.input.width, spec.input.height)
    baseline = write(graph, spec, options.file("fp32"))
    exported = []
    for precision in options.precisions:
        chosen, network = options.file(precision), networks[precision]
        path = output / file_name(source.stem, size, chosen, format_)
        progress(f"{path.name}: verifying")
        data = baseline if precision == "fp32" else write(network, spec, chosen)
        try:
            seen = _verify(write, network, spec, chosen, data, reference)
        except VerificationError as error:
            raise VerificationError(f"{path}: {error}") from error
        speed = 1.0 if data is baseline else speed_ratio(baseline, data, reference.pictures[0])
        if isinstance(network, QuantizedGraph):  # first: an int8 file never lies there without its plan
            write_atomically(output / plan_name(source.stem, size), network.plan.to_json())
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
        for value in values:
            check_choice(option, value, choices)
        if not values:
            raise InputError(f"{option}: none was given")
    for precision in options.precisions:
        options.file(precision).check()
    check_choice("range", options.int8.ranges, MODES)
    if options.int8.count < 2:
        raise InputError(f"calibration-images: expected 2 or more, got {options.int8.count}")
    if "int8" in options.precisions and not options.int8.pictures and options.int8.plan is None:
        raise InputError(
            "precision int8 needs pictures like those that the model will see: --calibration DIR (16 or more; without "
            "labels), or --plan FILE of an earlier export"
        )
    if "int8" not in options.precisions and (
        options.int8.plan is not None or "int8" in (options.input, options.output_type)
    ):
        raise InputError("--plan, and int8 inputs and outputs, go with --precision int8")
    if options.int8.plan is not None and len(options.sizes) > 1:
        raise InputError("--plan: is for one size")
    if not options.sizes:
        raise InputError("size: none was given")
    for format_ in options.formats:
        check_runtime(f".{format_}")  # files are run before they are written
