"""What an exported file shall be, whatever its format."""

from dataclasses import dataclass, field, replace

from yolo_edge.ondevice.detector import check_options
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import PRECISIONS, NmsOptions

HEADS = ("raw", "decoded", "nms")
INPUTS = ("float32", "uint8", "int8")
OUTPUT_TYPES = ("float32", "int8")
MAX_ROWS = 10_000  # of head "nms"


@dataclass(frozen=True)
class FileOptions:
    """What a file shall be.

    Attributes:
        precision: "fp32", "fp16", "int8", "int8-weights" or, of TFLite files, "int8x16".
        head: "raw", "decoded" or "nms": what the outputs are.
        input: "float32", "uint8" for the pixels of a picture, "int8" for the integers that an int8 network
            begins with; None: what is usual for the format and the precision.
        nms: Settings of head "nms".
        output_type: "float32", or "int8" for the integers that an int8 network ends with; None: what
            is usual.
    """

    precision: str = "fp32"
    head: str = "raw"
    input: str | None = None
    nms: NmsOptions = field(default_factory=NmsOptions)
    output_type: str | None = None

    def resolved(self, format_: str) -> "FileOptions":
        """The same with what is usual for a format, "onnx" or "tflite", in place of None.

        Raises:
            InputError: A precision that the format does not have.
        """
        if self.precision == "int8x16" and format_ == "onnx":
            raise InputError("precision int8x16: onnxruntime has no operators of 16 bits; use --format tflite")
        integers = format_ == "tflite" and self.precision == "int8"
        input_ = self.input or ("int8" if integers else "float32")
        output = self.output_type or ("int8" if integers and self.head == "raw" else "float32")
        return replace(self, input=input_, output_type=output)

    def check(self) -> None:
        """Check each option by itself.

        Raises:
            InputError: One is unknown, or out of its range.
        """
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("head", self.head, HEADS)
        if self.input is not None:
            check_choice("input", self.input, INPUTS)
        if self.output_type is not None:
            check_choice("output type", self.output_type, OUTPUT_TYPES)
        if self.precision != "int8" and "int8" in (self.input, self.output_type):
            raise InputError(f"int8 inputs and outputs are for precision int8, not {self.precision}")
        if self.head != "raw" and self.output_type == "int8":
            raise InputError(f"head {self.head!r} is decoded, in float32; int8 outputs are for head 'raw'")
        if self.nms.max_detections > MAX_ROWS:
            raise InputError(f"max_detections: at most {MAX_ROWS} rows in a file, got {self.nms.max_detections}")
        check_options(self.nms.confidence, self.nms.iou, self.nms.max_detections)


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that an option is one of its choices.

    Raises:
        InputError: It is not.
    """
    if value not in choices:
        raise InputError(f"{option} {value!r}: there is {' and '.join(choices)}")
