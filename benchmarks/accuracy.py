"""What `yolo-edge validate --json` printed, as far as a report reads it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from yolo_edge.benchmarks.results import model_name
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_bytes

MAX_BYTES = 64 << 20  # of a document

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How an accuracy was measured.

    Attributes:
        data: The dataset, as the user named it; None in documents that do not say.
        split: The part of it; None: the default.
    """

    data: str | None = None
    split: str | None = None


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How well a model finds what is labelled.

    Attributes:
        model: As the user named it.
        images: That were looked at.
        mAP50: At IoU 0.50, a fraction.
        mAP50_95: At IoU 0.50 to 0.95, a fraction.
        intervals: Of `mAP50` and `mAP50_95`, 95 %, from a bootstrap over the pictures; empty where not known.
        sha256: Of the model file; None in documents that do not say.
        settings: How it was measured.
    """

    model: str
    images: int
    mAP50: Fraction  # noqa: N815 - the document's key
    mAP50_95: Fraction  # noqa: N815 - the document's key
    intervals: dict[str, tuple[Fraction, Fraction] | None] = {}
    sha256: str | None = None
    settings: Measured = Measured()

    @property
    def on(self) -> str:
        """What it was measured on, for a person; accuracies on different things are not compared."""
        name = "data not recorded" if self.settings.data is None else printable(self.settings.data)
        part = "" if self.settings.split is None else f", {printable(self.settings.split)}"
        return f"{name}{part}: {self.images} pictures"


def read_accuracy(path: Path) -> list[Accuracy]:
    """Read a document of `yolo-edge validate --json`.

    Raises:
        InputError: It is none.
    """
    return parse_accuracy(read_bytes(path, MAX_BYTES), path)


def parse_accuracy(data: bytes, path: Path) -> list[Accuracy]:
    """The accuracies of a document that was read from `path`.

    Raises:
        InputError: It is none.
    """
    try:
        return msgspec.json.decode(data, type=list[Accuracy])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a document of `yolo-edge validate --json` ({error})") from error


def accuracy_of(model: str, found: Iterable[Accuracy], sha256: str | None = None) -> Accuracy | None:
    """The accuracy of a model.

    That of the same file, where both sides know its SHA-256; else by the path that it was named by, else by its file
    name where only one has it.
    """
    listed = list(found)
    same = [item for item in listed if sha256 is not None and item.sha256 == sha256]
    if not same:
        listed = [item for item in listed if None in (item.sha256, sha256)]
        same = [item for item in listed if item.model == model]
    if not same:
        same = [item for item in listed if model_name(item.model) == model_name(model)]
    return same[0] if len({(item.mAP50, item.mAP50_95, item.images) for item in same}) == 1 else None
