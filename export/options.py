"""What an exported file shall be, whatever its format."""

from dataclasses import dataclass, field

from yolo_edge.ondevice.detector import check_options
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import NmsOptions

PRECISIONS = ("fp32", "fp16")
HEADS = ("raw", "decoded", "nms")
INPUTS = ("float32", "uint8")
MAX_ROWS = 10_000  # of head "nms"


@dataclass(frozen=True)
class FileOptions:
    """What a file shall be.

    Attributes:
        precision: Of `PRECISIONS`.
        head: Of `HEADS`: what the outputs are.
        input: Of `INPUTS`: "float32", or "uint8" for the pixels of a picture.
        nms: For head "nms".
    """

    precision: str = "fp32"
    head: str = "raw"
    input: str = "float32"
    nms: NmsOptions = field(default_factory=NmsOptions)

    def check(self) -> None:
        """Check each option by itself.

        Raises:
            InputError: One is unknown, or out of its range.
        """
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("head", self.head, HEADS)
        check_choice("input", self.input, INPUTS)
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
