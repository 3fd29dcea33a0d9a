"""int8 within a limit of accuracy, for the exporter: what is chosen, measured, kept and said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.choose import Quantization, from_plan, quantize
from yolo_edge.export.quantization.control import Controlled, Limit, control
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.front import Front, Judged, Point, reversals
from yolo_edge.export.quantization.judge import StreamJudge
from yolo_edge.export.quantization.pictures import Pictures, stream
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.ranking import Damage
from yolo_edge.export.quantization.roles import Part
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import InputError

Progress = Callable[[str], None]
_SHOWN = 4
_FORM = b"2"  # of what is kept


@dataclass(frozen=True)
class ControlOptions:
    """A limit, and who says whether it holds.

    Attributes:
        limit: Of what may be lost.
        steer: Pictures that steer.
        judge: Pictures that judge.
        cache: Folder for what was found so far.
    """

    limit: Limit
    steer: Part
    judge: Part
    cache: Path


def quantize_within(
    graph: Graph,
    source: SourceModel,
    pictures: Pictures,
    options: ControlOptions,
    *,
    ranges: str,
    seed: int,
    format_: str,
    clock: Callable[[QuantizedGraph], float],
    progress: Progress,
) -> tuple[Controlled, tuple[str, ...]]:
    """Make int8 of a network, and put layers back to float until a limit holds.

    Args:
        graph: Canonical.
        source: Of it.
        pictures: To calibrate and to choose with.
        options: The limit.
        ranges: As of `choose.quantize`.
        seed: As of `choose.quantize`.
        format_: Of the files that `clock` runs.
        clock: The time of a network as a multiple of fp32's.
        progress: Told what is done next.

    Returns:
        What control gave, and what a person should know of how int8 was made.

    Raises:
        InputError: An agreement is wanted, and the float model finds nothing in the pictures.
    """
    cache = Cache(options.cache, _parts(graph, source, pictures, options, ranges, seed, format_))
    try:
        if cache.found:
            progress(f"going on with {cache.found} results of an earlier run")
        made = _base(graph, source, pictures, cache, ranges, seed, progress)
        expanded = expand_activations(graph)
        progress("detecting in float")
        steer, judge = (
            StreamJudge(expanded, source.spec, part.paths, part.dataset) for part in (options.steer, options.judge)
        )
        for judging, part in ((steer, "steer"), (judge, "judge")):
            if options.limit.max_drop is None and not judging.can_agree:
                raise InputError(f"--min-agreement: the float model finds nothing in the pictures that {part}")
        found = control(
            expanded,
            source.spec,
            made.network,
            options.limit,
            steer=steer,
            judge=judge,
            steering_images=len(options.steer.paths),
            judging_images=len(options.judge.paths),
            tensors=list(stream(pictures.held_back, source.spec.input)),
            clock=clock,
            format_=format_,
            cache=cache,
            progress=progress,
        )
    finally:
        cache.close()
    return found, made.notes


def _base(
    graph: Graph, source: SourceModel, pictures: Pictures, cache: Cache, ranges: str, seed: int, progress: Progress
) -> Quantization:
    """All in int8, from the cache where it is there."""
    plan, notes = cache.get("plan", QuantizationPlan), cache.get("notes", tuple[str, ...])
    if isinstance(plan, QuantizationPlan) and isinstance(notes, tuple):
        return Quantization(from_plan(graph, plan, str(cache.path)).network, notes=notes)
    made = quantize(graph, source.spec, pictures, ranges=ranges, seed=seed, kept=cache, progress=progress)
    cache.put("plan", made.network.plan)
    cache.put("notes", made.notes)
    return made


def _parts(
    graph: Graph,
    source: SourceModel,
    pictures: Pictures,
    options: ControlOptions,
    ranges: str,
    seed: int,
    format_: str,
) -> list[bytes]:
    """All that results depend on."""
    labels = options.steer.dataset
    return [
        _FORM,
        ir.to_proto(graph).SerializeToString(deterministic=True),
        source.spec.to_json().encode(),
        *(_identity(paths) for paths in (pictures.calibration, pictures.held_back, options.steer.paths)),
        b"" if labels is None else np.concatenate([labels.xyxy.reshape(-1), labels.class_id, labels.image]).tobytes(),
        f"{ranges} {seed} {format_}".encode(),
    ]


def _identity(paths: Sequence[Path]) -> bytes:
    found = []
    for path in paths:
        state = path.stat()
        found.append(f"{path.absolute()} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(found).encode("utf-8", "surrogateescape")


def describe_verdict(judged: Judged, limit: str) -> str:
    """How a point does on the pictures that judge, in words."""
    missed = "" if judged.holds else f": {limit} is missed there"
    return f"on {judged.images} other pictures, which judge, it {_said(judged)}{missed}"


def describe(front: Front) -> list[str]:
    """What a person should know of a limit that holds, or does not."""
    notes, limit = [], front.limit
    notes.append(f"alone in int8 these layers do most harm: {', '.join(map(_harm, front.ranking[:_SHOWN]))}")
    notes += _reversed(front) + _too_few_pictures(front)
    if front.chosen is None:
        best = min((point for point in front.points if point.int8), key=lambda point: point.expected, default=None)
        said = "" if best is None else f"; the best, point {best.number} of {len(front.points)}, {_said(best)}"
        notes.append(f"{limit} is not reachable with int8{said}")
        return notes
    point = next(item for item in front.points if item.number == front.chosen)
    drops = limit.startswith("max-drop")
    expected = f"a loss of {point.expected:.2f} points" if drops else f"an agreement of {1 - point.expected:.3f}"
    notes.append(
        f"{limit} in int8: {len(point.floats)} of {len(front.groups)} groups of layers went back to float, "
        f"{point.int8} of {front.convolutions} convolutions are in int8; on the {front.steering_images} pictures that "
        f"steer it {_said(point)} ({expected} by all points together) and takes {point.time:.2f} times the time of fp32"
    )
    if front.judged is not None:
        notes.append(describe_verdict(front.judged, limit))
    faster = [item for item in front.points if item.int8 and item.best and item.time < point.time]
    if faster:
        notes.append("faster points are in the front: --plan FILE.front.json --point N takes one")
    return notes


def _harm(damage: Damage) -> str:
    parts = [f"{damage.sqnr_db:.1f} dB"]
    if damage.drop is not None and damage.interval is not None:
        parts.append(f"loses {damage.drop:.2f} points {_ends(damage.interval)}")
    parts += [] if damage.cause is None else [f"because of {damage.cause}"]
    return f"{damage.group} ({', '.join(parts)})"


def _reversed(front: Front) -> list[str]:
    found = reversals(front.points, drops=front.limit.startswith("max-drop"))
    if not found:
        return []
    pairs = ", ".join(f"{first} and {second}" for first, second in found[:_SHOWN])
    return [
        f"more layers in float do not always lose less here, beyond noise (points {pairs}): look at the front before "
        "you trust what is expected of its points"
    ]


def _too_few_pictures(front: Front) -> list[str]:
    """A limit that is finer than what the pictures that steer can tell."""
    kind, value = front.limit.split()
    drops = kind == "max-drop"
    ends = [point.interval if drops else point.agreement_interval for point in front.points if point.int8]
    widths = [(item[1] - item[0]) / 2 for item in ends if item is not None]
    if not widths or (told := median(widths)) <= (float(value) if drops else 1 - float(value)):
        return []
    what = f"mAP50 to ± {told:.1f} points only" if drops else f"agreement to ± {told:.3f} only"
    more = "more pictures, or --min-agreement, tell more" if drops else "more pictures tell more"
    return [f"the {front.steering_images} pictures that steer tell {what}, which is coarser than {front.limit}: {more}"]


def _ends(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"


def _said(point: Point | Judged) -> str:
    parts = [] if point.drop is None else [f"loses {point.drop:.2f} points of mAP50"]
    if isinstance(point, Judged) and point.interval is not None:
        parts[0] += f" {_ends(point.interval)}"
    parts += [] if point.agreement is None else [f"has an agreement of {point.agreement:.3f}"]
    return " and ".join(parts) or "finds nothing to compare"
