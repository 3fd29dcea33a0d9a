"""What an export shall make, and what is the same for all files of one size."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from yolo_edge.export.controlled import ControlOptions
from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.options import FileOptions
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.pictures import DEFAULT_COUNT
from yolo_edge.export.source import SourceModel
from yolo_edge.export.tflite import write_tflite
from yolo_edge.export.verify import Reference, speed_ratio
from yolo_edge.ondevice.spec import ModelSpec, NmsOptions

Network: TypeAlias = Graph | QuantizedGraph
Writer: TypeAlias = Callable[[Network, ModelSpec, FileOptions], bytes]

# format, which is also the suffix of the files → what writes it, the runtime that runs it
WRITERS: dict[str, Writer] = {"onnx": write_onnx, "tflite": write_tflite}
FORMATS = tuple(WRITERS)
AUTO = "auto"
PLANNED = ("int8", "int8x16")  # precisions that go with a plan


def file_name(stem: str, size: tuple[int, int], options: FileOptions, format_: str = "onnx") -> str:
    """`<stem>-<size>-<precision>[-<head>][-<input>].<format>`; head and input only when they are not the default.

    The size is one number when both sides are equal.
    """
    parts = [_of_precision(stem, size, options.precision)]
    default = FileOptions(options.precision).resolved(format_)
    parts += [options.head] if options.head != default.head else []
    parts += [options.input] if options.input not in (None, default.input) else []
    return f"{'-'.join(parts)}.{format_}"


def _of_precision(stem: str, size: tuple[int, int], precision: str) -> str:
    width, height = size
    return f"{stem}-{width if width == height else f'{width}x{height}'}-{precision}"


def plan_name(stem: str, size: tuple[int, int], precision: str = "int8") -> str:
    """The file that keeps the plan of files of a precision: `<stem>-<size>-int8.plan.json`."""
    return f"{_of_precision(stem, size, precision)}.plan.json"


def front_name(stem: str, size: tuple[int, int]) -> str:
    """The file that keeps the front of int8 and float: `<stem>-<size>-int8.front.json`."""
    return plan_name(stem, size).replace(".plan.", ".front.")


def size_in_name(kept: Path) -> tuple[int, int] | None:
    """The input (width, height) that a plan or front was made for, as its name says; None: it has another name."""
    found = re.search(r"-([0-9]{1,6})(?:x([0-9]{1,6}))?-int8(?:x16)?\.(?:plan|front)\.json$", kept.name)
    return None if found is None else (int(found[1]), int(found[2] or found[1]))


@dataclass(frozen=True)
class Int8Options:
    """How int8 files are made.

    Attributes:
        pictures: To calibrate with; int8 wants them, or a plan.
        count: How many of them, at most.
        seed: Of the draw, and of all that is random.
        ranges: Of `ranges.MODES`.
        plan: A plan or a front that was kept, instead of pictures.
        point: Of the front in `plan`; None: the one that was chosen.
        control: A limit of accuracy that int8 files shall hold; None: none.
    """

    pictures: Sequence[Path] = ()
    count: int = DEFAULT_COUNT
    seed: int = 0
    ranges: str = "auto"
    plan: Path | None = None
    point: int | None = None
    control: ControlOptions | None = None


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a model.

    Attributes:
        formats: Of `FORMATS`.
        precisions: Of `spec.PRECISIONS`; or `AUTO` alone: the fastest that holds `int8.control`.
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


@dataclass(frozen=True)
class Job:
    """What is the same for all files of one size.

    Attributes:
        graph: Canonical.
        source: What it was made of.
        options: Of the export.
        output: The folder for the files.
        reference: The source, run on pictures.
        progress: Told what is done next.
    """

    graph: Graph
    source: SourceModel
    options: ExportOptions
    output: Path
    reference: Reference
    progress: Callable[[str], None]

    @property
    def size(self) -> tuple[int, int]:
        """Input (width, height)."""
        return self.source.spec.input.width, self.source.spec.input.height

    def write(self, format_: str, network: Network, precision: str) -> bytes:
        """The bytes of a file."""
        return WRITERS[format_](network, self.source.spec, self.options.file(precision))

    def ratio(self, baseline: bytes, candidate: bytes) -> float:
        """How many times faster one file is than another."""
        return speed_ratio(baseline, candidate, self.reference.pictures[0])
