"""Which family a foreign network is, where its raw heads are, and what its anchors are.

Found by topology and checked by numbers, never by the names of nodes. From the outputs back through the decoder lie the
raw head convolutions; their grids and channels say which families it may be. The decoder between them and the outputs
is then run alone, on zeros (which shows the anchors) and on random maps, and must give what the family's formulas give.
Networks that end at their raw heads are told by the channels and by what they are behind (σ, softmax); where that fits
several families, they are refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations, product

import numpy as np

from yolo_edge.export.importers.onnx.advice import Advice
from yolo_edge.export.importers.onnx.families import Level
from yolo_edge.export.importers.onnx.heads import describe, find_heads, levels_of, split_levels
from yolo_edge.export.importers.onnx.network import OnnxNetwork
from yolo_edge.export.importers.onnx.run_decoder import Decoder, Recognition
from yolo_edge.ondevice.errors import InputError

_MAX_ANCHORS = 16
_MAX_WAYS = 64
# channels of the distributions that families have: NanoDet 4·8, Ultralytics 4·16, YOLOv6 and PP-YOLOE 4·17
_USUAL_BINS = (32, 64, 68)
_NANODET_BINS, _PLUS_LEVELS = 32, 4  # NanoDet-Plus has a fourth level

Anchors = Sequence[tuple[float, float]]


class UnknownFamilyError(InputError):
    """A network whose heads are of no family that is known.

    Attributes:
        heads: Names of the values that its last convolutions compute.
        levels: The same by grid.
        advice: What may help; None where nothing is known, or where it would not help.
    """

    def __init__(self, message: str, heads: Sequence[str], levels: Sequence[Level] = (), advice: Advice | None = None):
        super().__init__(message)
        self.heads = list(heads)
        self.levels = list(levels)
        self.advice = advice


def recognize(network: OnnxNetwork, anchors: Anchors = ()) -> Recognition:
    """Find the raw heads of a network and what they mean.

    Args:
        network: To look at.
        anchors: (width, height) in pixels of its input, from fine to coarse, for families whose files lack them.

    Raises:
        InputError: Not a family that is known; the message shows what was found.
    """
    with np.errstate(all="ignore"):  # what is not finite is no match
        return _recognize(network, anchors)


def _recognize(network: OnnxNetwork, anchors: Anchors) -> Recognition:
    heads = find_heads(network)
    levels = levels_of(network, heads)
    split = split_levels(network, levels)
    found = None
    for candidate in [levels] if split is None else [levels, split]:
        found = found or _look(network, candidate, anchors)
    if found is None:
        raise UnknownFamilyError(
            f"{network.path}: not a detector of a family that is known (YOLOv5 to v11, 26, X, PP-YOLOE, NanoDet, "
            f"FastestDet, Yolo-FastestV2). {describe(network, split or levels)}",
            heads,
            split or levels,
        )
    if anchors and found.family != "yolo_fastestv2":
        needs = "has its anchors in it" if found.levels[0].anchors else f"has none: it is {found.family}"
        raise InputError(f"--anchors: are for files that lack theirs; {network.path} {needs}")
    return found


def _look(network: OnnxNetwork, levels: Sequence[Level], anchors: Anchors) -> Recognition | None:
    """What heads on these levels are."""
    decoder = Decoder(network, [name for level in levels for name in level.tensors.values()])
    guesses = list(_guesses(network, levels))
    for guess in guesses:
        for ordered in (guess, replace(guess, levels=guess.levels[::-1])):
            found = decoder.check(ordered)
            if found is not None:
                return replace(found, levels=tuple(sorted(found.levels, key=lambda level: level.stride)))
    forms = decoder.forms()
    if forms is None:
        return None
    fitting = [raw for guess in guesses if (raw := _raw(network, guess, forms)) is not None]
    if len({_meaning(raw) for raw in fitting}) != 1:
        return None
    raw = fitting[0]
    if raw.family == "yolov5":
        raise UnknownFamilyError(
            f"{network.path}: ends at raw heads with anchors, and the file says neither which anchors nor how they are "
            "meant (YOLOv5 and v7, or YOLOv3 and v4, whose sizes are exponentials); export it with its decoder, or say "
            f"it with --spec FILE. {describe(network, levels)}",
            [name for level in levels for name in level.tensors.values()],
            levels,
        )
    return _with_anchors(network, raw, anchors) if raw.family == "yolo_fastestv2" else raw


def _meaning(found: Recognition) -> str:
    """What differs between readings of the same heads."""
    tensors = [dict(level.tensors) for level in found.levels]
    if found.family == "yolox" and found.classes == 1:  # objectness and class are multiplied: either may be the other
        tensors = [{"box": each["box"]} for each in tensors]
    return f"{found.family} {tensors}"


def _raw(network: OnnxNetwork, guess: Recognition, forms: dict[str, str]) -> Recognition | None:
    """What a guess is when the network ends at its heads, or shortly behind; None where it does not fit."""
    seen = {role: {forms[level.tensors[role]] for level in guess.levels} for role in guess.levels[0].tensors}
    if any(len(each) != 1 for each in seen.values()):
        return None
    form = {role: each.pop() for role, each in seen.items()}
    if guess.family == "dfl":
        bins = network.shapes[guess.levels[0].tensors["box"]][1]
        known = form["classes"] == "sigmoid" or (form["classes"] == "raw" and bins in _USUAL_BINS)
        if form["box"] != "raw" or not known:
            return None
        if bins != _NANODET_BINS:
            return guess
        family = "nanodet_plus" if len(guess.levels) == _PLUS_LEVELS else "dfl"
        return replace(guess, family=family, trainer="nanodet")
    if guess.family == "yolox":
        if form == {"box": "raw", "objectness": "sigmoid", "classes": "softmax"}:
            return replace(guess, family="fastestdet")
        plain = form["box"] == "raw" and form["objectness"] == form["classes"] in ("raw", "sigmoid")
        return guess if plain and len(guess.levels) > 1 else None
    if guess.family == "yolo_fastestv2":
        squashed = {"box": "sigmoid", "objectness": "sigmoid", "classes": "softmax"}
        return guess if form == squashed or set(form.values()) == {"raw"} else None
    return guess if guess.family == "yolov5" and form == {"map": "raw"} else None


def _with_anchors(network: OnnxNetwork, found: Recognition, anchors: Anchors) -> Recognition:
    """Anchors shared out among the levels, from fine to coarse."""
    each, count = len(found.levels[0].anchors), len(found.levels)
    if len(anchors) != each * count:
        _, _, height, width = network.shapes[network.input]
        what = f"got {len(anchors)}" if anchors else "the file does not hold them"
        raise InputError(
            f"{network.path}: Yolo-FastestV2, with {each} anchors on each of {count} grids; {what}. Say them with "
            f"--anchors W,H,W,H,…, {each * count} of them from fine to coarse, in pixels of {width}x{height} "
            "(`anchors` in the .data file that it was trained with)"
        )
    levels = [replace(level, anchors=tuple(anchors[each * i : each * (i + 1)])) for i, level in enumerate(found.levels)]
    return replace(found, levels=tuple(levels))


def _guesses(network: OnnxNetwork, levels: Sequence[Level]) -> Iterator[Recognition]:
    """What the channels allow it to be."""
    channels = [{network.shapes[name][1]: name for name in level.tensors.values()} for level in levels]
    counts = {len(level.tensors) for level in levels}
    if counts == {1}:
        widths = {next(iter(found)) for found in channels}
        for anchors in range(1, _MAX_ANCHORS + 1):
            width = next(iter(widths))
            if len(widths) == 1 and width % anchors == 0 and width // anchors >= 6:
                named = [replace(level, tensors={"map": level.tensors["0"]}) for level in levels]
                empty = ((1.0, 1.0),) * anchors
                named = [replace(level, anchors=empty) for level in named]
                yield Recognition("yolov5", tuple(named), width // anchors - 5, None)
    if counts == {2}:
        yield from _two_maps(network, levels)
    if counts == {3}:
        yield from _three_maps(network, levels)


def _two_maps(network: OnnxNetwork, levels: Sequence[Level]) -> Iterator[Recognition]:
    for (bins, classes), named in _assigned(network, levels, ("box", "classes")):
        if bins % 4 == 0 and bins >= 8:
            yield Recognition("dfl", named, classes, None)
            yield Recognition("nanodet_plus", named, classes, None)
        if bins == 4:
            yield Recognition("ltrb", named, classes, None)


def _three_maps(network: OnnxNetwork, levels: Sequence[Level]) -> Iterator[Recognition]:
    for (box, objectness, classes), named in _assigned(network, levels, ("box", "objectness", "classes")):
        if (box, objectness) == (4, 1):
            yield Recognition("yolox", named, classes, None)
        elif box == 4 * objectness and objectness <= _MAX_ANCHORS:
            anchors = ((1.0, 1.0),) * objectness
            yield Recognition(
                "yolo_fastestv2", tuple(replace(level, anchors=anchors) for level in named), classes, None
            )


def _assigned(
    network: OnnxNetwork, levels: Sequence[Level], roles: Sequence[str]
) -> Iterator[tuple[tuple[int, ...], tuple[Level, ...]]]:
    """Every way to give the maps of all levels roles, so that a role has one number of channels: that, and the levels.

    The order of the graph may be another on each level.
    """
    ways: list[dict[tuple[int, ...], list[Level]]] = []
    for level in levels:
        found: dict[tuple[int, ...], list[Level]] = {}
        for names in permutations(level.tensors.values()):
            widths = tuple(network.shapes[name][1] for name in names)
            found.setdefault(widths, []).append(replace(level, tensors=dict(zip(roles, names, strict=True))))
        ways.append(found)
    for widths in ways[0]:
        if all(widths in way for way in ways):
            for named in islice(product(*(way[widths] for way in ways)), _MAX_WAYS):
                yield widths, named
