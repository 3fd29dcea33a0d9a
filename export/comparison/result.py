"""What a comparison says, as `compare --json` prints it."""

from typing import Any

import msgspec


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """How a tensor is held as integers.

    Attributes:
        dtype: "int8", "uint8", "int16" or "uint16".
        scale: Of one step.
        zero_point: The integer of 0.
        range: The smallest and the largest value that it can hold.
    """

    dtype: str
    scale: float
    zero_point: int
    range: tuple[float, float]


class LayerResult(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of the float file beside its counterpart.

    Attributes:
        name: Of its result in the float file.
        op: Its operator there.
        kind: "convolution", "activation", "join", "other" or "stored".
        quantized_name: Of its counterpart's result.
        quantized_op: Its operator.
        matched_by: "weights", "activations" or "place".
        similarity: Correlation of the activations, channel by channel, at most 1.
        channels: Of its result.
        role: Of a raw head: "map", "box", "objectness" or "classes"; null: of another layer.
        sqnr_db: Signal to noise of its result, with all that layers before it did wrong.
        added: The noise that it has more than what it reads, as a share of its signal: what the table is sorted by.
        storage_sqnr_db: Signal to noise of the float result rounded and cut as the file stores it; null: not stored.
        weight_sqnr_db: Of the weights; null: none, or scaled otherwise.
        cosine: Of the two results.
        saturated: Share of the float values that lie beyond what the file can store.
        lost_small: Share of the float values of at least a hundredth of the largest that are stored as 0.
        range: The smallest and the largest float value.
        widest: Widths of the widest channel and of the middle one (median), float.
        stored: How the file holds it; null: as floats.
        weights: Type of the weights in the file, and how many scales they have.
        rescaled: Its channels are scaled (equalisation) or have ranges of their own: compared with that undone.
    """

    name: str
    op: str
    kind: str
    quantized_name: str
    quantized_op: str
    matched_by: str
    similarity: float
    channels: int
    role: str | None
    sqnr_db: float
    added: float
    storage_sqnr_db: float | None
    weight_sqnr_db: float | None
    cosine: float
    saturated: float
    lost_small: float
    range: tuple[float, float]
    widest: tuple[float, float]
    stored: Stored | None
    weights: tuple[str, int] | None
    rescaled: bool


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or that explains.

    Attributes:
        key: Of the kind of finding.
        severity: "broken", "harm" or "note".
        title: In short.
        text: What was measured, in words.
        advice: What to do; empty where there is nothing.
        layers: Names in the float file.
    """

    key: str
    severity: str
    title: str
    text: str
    advice: str = ""
    layers: tuple[str, ...] = ()


class PictureResult(msgspec.Struct, frozen=True, kw_only=True):
    """What both files find in a picture.

    Attributes:
        image: Path.
        agreement: 1 where both show the same boxes: twice the sum of the overlaps (IoU) of the boxes that both show, by
            the number of all.
        float_detections: How many the float file shows.
        quantized_detections: How many the other shows.
    """

    image: str
    agreement: float
    float_detections: int
    quantized_detections: int


class FileResult(msgspec.Struct, frozen=True, kw_only=True):
    """One of the files.

    Attributes:
        path: Where it is.
        format: "cfg", "onnx" or "tflite".
        bytes: Of the file.
        convolutions: How many it has.
        int8: How many of them multiply integers.
        weights: Type of the weights of convolutions → how many have it.
        moves: Operators that only transpose.
    """

    path: str
    format: str
    bytes: int
    convolutions: int
    int8: int
    weights: dict[str, int]
    moves: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole.

    Attributes:
        float_file: The first file.
        quantized_file: The second.
        images: Pictures that both detected in.
        layer_images: Pictures that layers were compared on.
        size: Input (width, height).
        findings: The worst first.
        layers: By what they add, the worst first.
        unmatched: Layers of the float file without a counterpart.
        agreement: AP50 with the float file's detections as labels; null: it shows nothing, or detections of the other
            file cannot be had.
        accuracy: "float" and "quantized" → mAP50 and mAP50_95; null without labels of its classes.
        detections_by: How the second file's detections were had: "file", "layers" (its layers that are the raw heads,
            decoded as the float file's) or null.
        kernels_sqnr_db: The runtime's own kernels against the arithmetic of the second file; null: not comparable.
        pictures: Where they disagree most.
        notes: What a person should know of how it was compared.
    """

    float_file: FileResult
    quantized_file: FileResult
    images: int
    layer_images: int
    size: tuple[int, int]
    findings: tuple[Finding, ...]
    layers: tuple[LayerResult, ...]
    unmatched: tuple[str, ...]
    agreement: float | None
    accuracy: dict[str, dict[str, float | None]] | None
    detections_by: str | None
    kernels_sqnr_db: float | None
    pictures: tuple[PictureResult, ...]
    notes: tuple[str, ...]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a comparison."""
    return msgspec.json.schema(Comparison)
