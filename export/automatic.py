"""`--precision auto`: of fp32, fp16, int8 and mixes of them the fastest that holds a limit, by measurement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.control import point_of
from yolo_edge.export.quantization.front import Front

_SAME_TIME = 1.03  # faster by less is no reason for a larger file
_TIMED = 3  # points of the front that are timed again

Writer = Callable[[Graph | QuantizedGraph, str], bytes]


@dataclass(frozen=True)
class Candidate:
    """One of the files that were compared.

    Attributes:
        name: "fp32", "fp16", "int8" or "int8, 3 groups in float".
        precision: Of `spec.PRECISIONS`.
        point: Of the front; None: no int8.
        time: Of an inference as a multiple of fp32's.
        bytes: Of the file.
    """

    name: str
    precision: str
    point: int | None
    time: float
    bytes: int


def choose_precision(
    graph: Graph, expanded: Graph, front: Front, write: Writer, ratio: Callable[[bytes, bytes], float]
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Time what holds the limit, and choose.

    Args:
        graph: The float network.
        expanded: With expanded activations.
        front: Of it; its points say which hold the limit.
        write: A network and a precision → the bytes of a file.
        ratio: Two files → how many times faster the second is.

    Returns:
        The chosen one, and all that were timed.
    """
    baseline = write(graph, "fp32")
    found = [Candidate("fp32", "fp32", None, 1.0, len(baseline))]
    half = write(graph, "fp16")
    found.append(Candidate("fp16", "fp16", None, 1 / ratio(baseline, half), len(half)))
    holding = sorted((point for point in front.points if point.holds and point.int8), key=lambda point: point.time)
    for point in holding[:_TIMED]:
        data = write(point_of(expanded, front, point.number), "int8")
        many = len(point.floats)
        name = f"int8, {many} group{'s' if many > 1 else ''} in float" if many else "int8"
        found.append(Candidate(name, "int8", point.number, 1 / ratio(baseline, data), len(data)))
    return pick(found), tuple(found)


def pick(candidates: Sequence[Candidate]) -> Candidate:
    """The smallest of those that are as good as the fastest."""
    fastest = min(candidate.time for candidate in candidates)
    near = [candidate for candidate in candidates if candidate.time <= fastest * _SAME_TIME]
    return min(near, key=lambda candidate: (candidate.bytes, candidate.time))


def describe(format_: str, chosen: Candidate, candidates: Sequence[Candidate], limit: str) -> str:
    """The choice in words."""
    times = ", ".join(f"{item.name} {item.time:.2f}" for item in candidates)
    return f"{format_}: {chosen.name} was chosen for {limit}; time on this machine, fp32 = 1: {times}"
