"""What helps with a detector that is not recognised: what it is likely to be, and a spec of it to fill in."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from yolo_edge.export.importers.onnx.families import Level
from yolo_edge.export.importers.onnx.network import OnnxNetwork
from yolo_edge.ondevice.spec import Head, InputSpec

FILL_IN = "fill in"
_USUAL_ANCHORS = (3, 2, 5, 6, 4, 9)
_MOST_NAMES = 1000


@dataclass(frozen=True)
class Advice:
    """For a person who knows where the file comes from.

    Attributes:
        likely: Which families its heads may be of, and why.
        missing: What the file does not say.
        spec: A spec for `--spec`, where what is missing says "fill in".
    """

    likely: str
    missing: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class _Guess:
    family: str
    roles: tuple[str, ...]  # of the maps of a level, in the order of the graph
    classes: int
    anchors: int
    likely: str
    missing: str


def advise(network: OnnxNetwork, levels: Sequence[Level]) -> Advice | None:
    """What the channels of the heads tell; None where they tell nothing.

    Args:
        network: That is not recognised.
        levels: Its heads by grid.
    """
    widths = {tuple(network.shapes[name][1] for name in level.tensors.values()) for level in levels}
    guess = _guess(widths.pop()) if len(widths) == 1 else None
    if guess is None:
        return None
    _, _, height, width = network.shapes[network.input]
    heads = []
    for level in levels:
        tensors = dict(zip(guess.roles, level.tensors.values(), strict=True))
        head = asdict(Head(guess.family, level.stride, tensors, scale_xy=2.0 if guess.anchors else 1.0))
        head["anchors"] = [[FILL_IN, FILL_IN]] * guess.anchors
        heads.append({key: head[key] for key in ("family", "stride", "tensors", "anchors", "scale_xy")})
    image = asdict(InputSpec(width, height, resize="letterbox", pad_value=114))
    shown = ("width", "height", "color", "mean", "scale", "resize", "pad_value", "pad_position")
    names = [f"class_{i}" for i in range(min(guess.classes, _MOST_NAMES))]
    spec = {"version": 1, "input": {key: image[key] for key in shown}, "heads": heads, "names": names}
    return Advice(guess.likely, guess.missing, spec)


def _guess(widths: tuple[int, ...]) -> _Guess | None:
    if len(widths) == 1:
        return _anchored(widths[0])
    if len(widths) == 2:
        return _distances(widths)
    if len(widths) == 3:
        return _separate(widths)
    return None


def _anchored(width: int) -> _Guess | None:
    fitting = [count for count in _USUAL_ANCHORS if width % count == 0 and width // count > 5]
    if not fitting:
        return None
    count = fitting[0]
    classes = width // count - 5
    plural = "class" if classes == 1 else "classes"
    return _Guess(
        "yolov5",
        ("map",),
        classes,
        count,
        f"one map a grid of {width} channels: with {count} anchors and {classes} {plural} a YOLOv5 or v7 (family "
        '"yolov5"), or a YOLOv3 or v4 (family "yolo", scale_xy 1)',
        "the anchors of each grid in pixels, and which of the two it is (sizes are exponentials in v3 and v4)",
    )


def _distances(widths: tuple[int, ...]) -> _Guess | None:
    box = next((i for i in (0, 1) if widths[i] in (4, 32, 64, 68)), None)
    if box is None:
        return None
    roles = ("box", "classes") if box == 0 else ("classes", "box")
    family = "ltrb" if widths[box] == 4 else "dfl"
    what = "distances (YOLOv6, YOLO26)" if family == "ltrb" else f"4·{widths[box] // 4} bins (YOLOv8 to 11, NanoDet)"
    return _Guess(
        family,
        roles,
        widths[1 - box],
        0,
        f'two maps a grid, one of {widths[box]} channels: {what}, family "{family}"',
        "how its decoder makes boxes of them: no formula that is known fits",
    )


def _separate(widths: tuple[int, ...]) -> _Guess | None:
    for box in range(3):
        for there in range(3):
            count = widths[there]
            if box == there or widths[box] != 4 * count or count > 9:
                continue
            names = {box: "box", there: "objectness"}
            roles = tuple(names.get(i, "classes") for i in range(3))
            family = "yolox" if count == 1 else "yolo_fastestv2"
            rest = widths[3 - box - there]
            likely = (
                'three maps a grid, boxes, objectness and classes: a YOLOX (family "yolox") or a FastestDet (family '
                '"fastestdet")'
                if count == 1
                else f'three maps a grid, with {count} anchors: a Yolo-FastestV2 (family "yolo_fastestv2")'
            )
            missing = "which of the two it is" if count == 1 else "the anchors of each grid in pixels"
            return _Guess(family, roles, rest, count if count > 1 else 0, likely, missing)
    return None
