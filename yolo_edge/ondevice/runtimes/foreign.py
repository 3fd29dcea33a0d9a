"""What a file is that cannot be read as what it is named, in words for a person."""

from typing import Optional

from yolo_edge.ondevice.runtimes.protobuf import MAX_MESSAGE_BYTES, VARINT, Bytes, fields
from yolo_edge.ondevice.runtimes.tflite_file import IDENTIFIER

# what people hand over instead: where its mark stands, the mark, what it is
_KINDS = (
    (0, b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint"),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras model"),
    (0, b"\x80\x02", "a pickle, such as an old PyTorch checkpoint"),
    (0, b"[net", "a cfg text"),
    (0, b"<!DO", "an HTML page"),
    (0, b"<htm", "an HTML page"),
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the file itself"),
    (4, IDENTIFIER, "a TFLite file"),
)
_VERSION = b"\x08"  # the tag of `ir_version`, which the serializers of ONNX write first


def kind_of(data: Bytes) -> Optional[str]:
    """What a file looks like by its first 32 bytes; None: nothing that is known here."""
    return next((kind for at, mark, kind in _KINDS if data[at : at + len(mark)] == mark), None)


def why_no_onnx(data: Bytes) -> str:
    """What is wrong with bytes that are not to be read as an ONNX model."""
    kind = kind_of(data)
    if kind is not None:
        return f"it looks like {kind}"
    if bytes(data[: len(_VERSION)]) != _VERSION:
        return "its first bytes are not those of one"
    missing = _missing(data)
    if missing:
        return f"it is cut short by {missing} bytes or more: copy or download it again"
    return "it begins like one and is damaged: copy or download it again"


def _missing(data: Bytes) -> int:
    """How many bytes the last of the outermost fields lacks; 0 where they are whole, or make no sense."""
    try:
        for _, wire, _, end in fields(memoryview(data), 0, MAX_MESSAGE_BYTES):
            if wire != VARINT and end > len(data):
                return end - len(data)
    except (IndexError, ValueError):  # the end of the file, or what is no field
        return 0
    return 0
