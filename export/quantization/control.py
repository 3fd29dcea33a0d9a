"""Accuracy control: layers go back to float, the worst first, until a limit holds; every step is measured.

The idea of ranking and reverting is that of NNCF's accuracy-aware quantization; here groups keep what runtimes fuse
together, and each step has its time beside its accuracy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.front import Front, Judged, Point, expect, mark_best
from yolo_edge.export.quantization.groups import with_floats
from yolo_edge.export.quantization.judge import StreamJudge
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.ranking import Ranker
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import ModelSpec

REASON = "accuracy control"
_REFINED = 8  # points between those that are always measured, to find the fewest groups
_RANKED_ON = 8  # pictures

Progress = Callable[[str], None]
Clock = Callable[[QuantizedGraph], float]


@dataclass(frozen=True)
class Limit:
    """How much may be lost; one of both.

    Attributes:
        max_drop: Points of mAP50.
        min_agreement: AP50 with the float network's detections as labels, 0..1.
    """

    max_drop: float | None = None
    min_agreement: float | None = None

    def loss(self, agreement: float | None, drop: float | None) -> float:
        """What counts of what was measured: points of mAP50, or 1 − agreement."""
        if self.max_drop is not None:
            return 100.0 if drop is None else drop
        return 1.0 if agreement is None else 1 - agreement

    def holds(self, loss: float) -> bool:
        """Whether such a loss is within it."""
        return loss <= (self.max_drop if self.max_drop is not None else 1 - (self.min_agreement or 0.0)) + 1e-9

    def __str__(self) -> str:
        if self.max_drop is not None:
            return f"max-drop {self.max_drop:g}"
        return f"min-agreement {self.min_agreement:g}"


@dataclass(frozen=True)
class Controlled:
    """What control gave.

    Attributes:
        network: The first that holds the limit; None: none does.
        front: All points.
        verdict: The number of a point → how it does on the pictures that judge.
    """

    network: QuantizedGraph | None
    front: Front
    verdict: Callable[[int], Judged]


def control(
    graph: Graph,
    spec: ModelSpec,
    network: QuantizedGraph,
    limit: Limit,
    *,
    steer: StreamJudge,
    judge: StreamJudge,
    steering_images: int,
    judging_images: int,
    tensors: Sequence[np.ndarray],
    clock: Clock,
    format_: str,
    cache: Cache,
    progress: Progress,
) -> Controlled:
    """Find the fewest groups in float that hold a limit.

    Args:
        graph: The float network, canonical, with expanded activations.
        spec: Of its raw heads.
        network: All in int8, as chosen.
        limit: To hold.
        steer: Of the pictures that steer.
        judge: Of others.
        steering_images: How many steer.
        judging_images: How many judge.
        tensors: Inputs to rank with.
        clock: The time of a network as a multiple of fp32's.
        format_: Of the files that `clock` runs.
        cache: Keeps what was found.
        progress: Told what is done next.
    """
    ranker = Ranker(graph, spec, network, tensors[:_RANKED_ON], cache)
    ranking = ranker.rank(steer, progress, by_drop=limit.max_drop is not None and steer.has_labels)
    nodes = {group.name: group.nodes for group in ranker.groups}
    order = [damage.group for damage in ranking]
    convolutions = sum(node.op_type == "Conv" for node in graph.graph)
    found: dict[int, Point] = {}

    def measure(count: int) -> None:
        plan = plan_of(network, [name for group in order[:count] for name in nodes[group]])
        found[count] = _measured(apply_plan(graph, plan), order[:count], steer, clock, cache, progress)

    for count in _coarse(len(order)):
        measure(count)
    for _ in range(_REFINED):
        points = _judged(found, limit)
        counts = [len(point.floats) for point in points]
        first = next((i for i, point in enumerate(points) if point.holds), 0)
        if not first or counts[first] - counts[first - 1] < 2:
            break
        measure((counts[first - 1] + counts[first]) // 2)
    points = _judged(found, limit)
    chosen = next((point.number for point in points if point.holds and point.int8), None)
    front = Front(
        limit=str(limit),
        format=format_,
        steering_images=steering_images,
        convolutions=convolutions,
        points=mark_best(points),
        chosen=chosen,
        judged=None,
        ranking=tuple(ranking),
        groups=nodes,
        plan=network.plan,
    )

    def verdict(number: int) -> Judged:
        progress("judging")
        score = judge.score(quantize_onnx(point_of(graph, front, number)))
        return Judged(
            images=judging_images,
            agreement=score.agreement,
            drop=score.drop,
            interval=score.interval,
            agreement_interval=score.agreement_interval,
            holds=limit.holds(limit.loss(score.agreement, score.drop)),
        )

    if chosen is None:
        return Controlled(None, front, verdict)
    final = point_of(graph, front, chosen)
    return Controlled(final, structs.replace(front, judged=verdict(chosen)), verdict)


def point_of(graph: Graph, front: Front, number: int, where: str = "front") -> QuantizedGraph:
    """The network of a point.

    Args:
        graph: With expanded activations.
        front: Of it.
        number: Of the point.
        where: What the front was read from, for error messages.

    Raises:
        InputError: The front is for another network, or contradicts itself.
    """
    base = apply_plan(graph, front.plan, f"{where}.plan")
    point = next((item for item in front.points if item.number == number), None)
    if point is None or not set(point.floats) <= set(front.groups):
        raise InputError(f"{where}: has no point {number}, or one of groups that it does not have")
    floats = [name for group in point.floats for name in front.groups[group]]
    return apply_plan(graph, plan_of(base, floats), where)


def plan_of(network: QuantizedGraph, floats: Sequence[str]) -> QuantizationPlan:
    """The plan of a network with more nodes in float."""
    return with_floats(network.structure, network.plan, floats, REASON)


def _coarse(groups: int) -> list[int]:
    """How many groups are in float: none, 1, 2, 4 … and all."""
    counts, count = [0], 1
    while count < groups:
        counts.append(count)
        count *= 2
    return sorted({*counts, groups * 3 // 4, groups})


def _judged(found: Mapping[int, Point], limit: Limit) -> tuple[Point, ...]:
    """The points from all in int8 to all in float, with what is expected of them."""
    points = [found[count] for count in sorted(found)]
    losses = expect([limit.loss(point.agreement, point.drop) for point in points])
    return tuple(
        # the float network loses nothing, so nothing gains
        structs.replace(point, number=number, expected=max(loss, 0.0), holds=limit.holds(loss))
        for number, (point, loss) in enumerate(zip(points, losses, strict=True))
    )


def _measured(
    network: QuantizedGraph,
    floats: Sequence[str],
    steer: StreamJudge,
    clock: Clock,
    cache: Cache,
    progress: Progress,
) -> Point:
    name = f"point {' '.join(sorted(floats))}"
    known = cache.get(name, Point)
    if isinstance(known, Point):
        return known
    progress(f"{len(floats)} layers in float: detecting, timing")
    score = steer.score(quantize_onnx(network))
    point = Point(
        number=0,
        floats=tuple(floats),
        int8=len(network.structure.int8_convolutions()),
        agreement=score.agreement,
        drop=score.drop,
        time=round(clock(network), 4),
        agreement_interval=score.agreement_interval,
        interval=score.interval,
    )
    cache.put(name, point)
    return point
