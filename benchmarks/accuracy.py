"""What `yolo-edge validate --json` printed, as far as a report reads it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from yolo_edge.benchmarks.results import model_name
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_bytes

_MAX_BYTES = 64 << 20

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How well a model finds what is labelled.

    Attributes:
        model: As the user named it.
        images: That were looked at.
        mAP50: At IoU 0.50, a fraction.
        mAP50_95: At IoU 0.50 to 0.95, a fraction.
    """

    model: str
    images: int
    mAP50: Fraction  # noqa: N815 - the document's key
    mAP50_95: Fraction  # noqa: N815 - the document's key


def read_accuracy(path: Path) -> list[Accuracy]:
    """Read a document of `yolo-edge validate --json`.

    Raises:
        InputError: It is none.
    """
    data = read_bytes(path, _MAX_BYTES)
    try:
        return msgspec.json.decode(data, type=list[Accuracy])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a document of `yolo-edge validate --json` ({error})") from error


def accuracy_of(model: str, found: Iterable[Accuracy]) -> Accuracy | None:
    """The accuracy of a model: by the path that it was named by, else by its file name where only one has it."""
    listed = list(found)
    same = [item for item in listed if item.model == model]
    if not same:
        same = [item for item in listed if model_name(item.model) == model_name(model)]
    return same[0] if len({(item.mAP50, item.mAP50_95, item.images) for item in same}) == 1 else None
