"""The front: what more layers in float bring, and cost; kept beside int8 files, so that another point can be taken."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal

import msgspec
from msgspec import structs

from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.ranking import Damage
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_text

_MAX_BYTES = 1 << 28
_EXACT = 1e-9


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mix of int8 and float.

    Attributes:
        number: What `--point` takes.
        floats: Groups that went back to float, beyond those of the plan.
        int8: Convolutions in int8.
        agreement: AP50 with the float network's detections as labels, on the pictures that steer; null: not known.
        drop: Points of mAP50 lost there; null: no labels.
        agreement_interval: 95 % interval of `agreement`, by a bootstrap over the pictures.
        interval: 95 % interval of `drop`, by a paired bootstrap.
        expected: What is lost by what all points say together: points of mAP50, or 1 − agreement where that is the
            limit. More layers in float never lose more: where the measured say so, it is noise, and their mean stands
            for them (isotonic regression).
        time: Of an inference as a multiple of fp32's, one thread, on this machine.
        best: No other point is both faster and expected to lose less.
        holds: The limit that was asked for, by what is expected.
    """

    number: int
    floats: tuple[str, ...]
    int8: int
    agreement: float | None
    drop: float | None
    time: float
    agreement_interval: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None
    expected: float = 0.0
    best: bool = False
    holds: bool = False


class Judged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chosen point on pictures that neither calibrated nor steered.

    Attributes:
        images: How many.
        agreement: AP50 with the float network's detections as labels; null: it finds nothing.
        drop: Points of mAP50 lost; null: no labels.
        interval: 95 % interval of `drop`; null: no labels.
        holds: The limit.
        agreement_interval: 95 % interval of `agreement`.
    """

    images: int
    agreement: float | None
    drop: float | None
    interval: tuple[float, float] | None
    holds: bool
    agreement_interval: tuple[float, float] | None = None


class Front(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All points that were measured.

    Attributes:
        version: Of this form: 1.
        limit: What was asked for: "max-drop 0.5" or "min-agreement 0.97".
        format: Of the files that were timed.
        steering_images: Pictures that accuracies come from; they calibrated nothing and judge nothing.
        convolutions: In the network.
        points: From all in int8 to all in float.
        chosen: The number of the point that was written; null: none holds the limit.
        judged: The chosen point on other pictures; null: none holds the limit.
        ranking: The layers, the worst first.
        groups: Group → its nodes.
        plan: That of point 0.
    """

    version: Literal[1] = 1
    limit: str
    format: str
    steering_images: int
    convolutions: int
    points: Annotated[tuple[Point, ...], msgspec.Meta(min_length=1)]
    chosen: int | None
    judged: Judged | None
    ranking: tuple[Damage, ...]
    groups: dict[str, tuple[str, ...]]
    plan: QuantizationPlan

    def to_json(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1) + b"\n"


def read_front(path: Path) -> Front | None:
    """Read a front that was kept; None where the file is something else, such as a plan.

    Raises:
        InputError: It cannot be read, or is a damaged front.
    """
    text = read_text(path, _MAX_BYTES, "a plan is JSON")
    try:
        if "points" not in msgspec.json.decode(text, type=dict[str, msgspec.Raw]):
            return None
    except (msgspec.DecodeError, RecursionError):
        return None
    try:
        return msgspec.json.decode(text, type=Front)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a front of int8 and float ({printable(str(error))})") from error


def expect(losses: Sequence[float]) -> list[float]:
    """The nearest numbers that never rise, by pooling adjacent violators (Ayer et al. 1955)."""
    blocks: list[tuple[float, int]] = []
    for loss in losses:
        blocks.append((loss, 1))
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n)]
    return [value for value, count in blocks for _ in range(count)]


def mark_best(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Say which points no other beats in both."""
    marked = []
    for point in points:
        beaten = any(
            (other.time <= point.time and other.expected < point.expected)
            or (other.time < point.time and other.expected <= point.expected)
            for other in points
        )
        marked.append(structs.replace(point, best=not beaten))
    return tuple(marked)


def reversals(points: Sequence[Point], *, drops: bool) -> list[tuple[int, int]]:
    """Where more layers in float lose more than noise explains: where a front is not monotone.

    Noise is what the choice of pictures may do. Two points differ when what is between them is more than their
    intervals, taken as independent, and widened so that the chance of any false alarm in the whole front is 5 %
    (Bonferroni).

    Args:
        points: From all in int8 to all in float.
        drops: By mAP50; else by agreement.

    Returns:
        Numbers of two points each, the first with less in float and yet better.
    """
    losses = [(point.number, loss) for point in points if (loss := _loss(point, drops)) is not None]
    pairs = list(combinations(losses, 2))
    if not pairs:
        return []
    wider = NormalDist().inv_cdf(1 - 0.025 / len(pairs)) / NormalDist().inv_cdf(0.975)
    found = []
    for (first, (_, before, high)), (second, (low, after, _)) in pairs:
        noise = math.hypot(max(high - before, 0.0), max(after - low, 0.0))
        if after - before > wider * noise + _EXACT:
            found.append((first, second))
    return found


def _loss(point: Point, drops: bool) -> tuple[float, float, float] | None:
    """The loss between the ends of its interval, the lower first."""
    if drops and point.drop is not None and point.interval is not None:
        return point.interval[0], point.drop, point.interval[1]
    if not drops and point.agreement is not None and point.agreement_interval is not None:
        low, high = point.agreement_interval
        return 1 - high, 1 - point.agreement, 1 - low
    return None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a front."""
    return msgspec.json.schema(Front)
