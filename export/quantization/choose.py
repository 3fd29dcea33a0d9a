"""From pictures to the plan that detects most like the float network.

Every recipe is made, written as ONNX and run on the pictures that were held back; what counts is how well its
detections agree with the float network's. The signal-to-noise ratio at the heads does not say: recipes that
gained 5 dB of it lost mAP.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import structs

from yolo_edge.datasets import Preparer, load_images
from yolo_edge.evaluation import LABEL_CONFIDENCE, MAX_DETECTIONS, Found, Truth, evaluate
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.calibration import Calibration
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.pictures import Pictures, stream
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.recipe import RECIPES, UNSEEN, Drafts, Recipe, finish
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.verify import MIN_SNR_DB
from yolo_edge.ondevice.decode import decode
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import select
from yolo_edge.ondevice.spec import ModelSpec

_CANDIDATE_CONFIDENCE, _IOU = 0.001, 0.45
_WALK_BYTES = 40 << 20  # of input tensors that networks are walked through with
_MOST_WALKED, _LEAST_WALKED = 16, 8
_WORTH_A_FLOAT = 0.02  # of agreement: what layers in float must gain

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """A recipe that was tried.

    Attributes:
        recipe: Its name.
        agreement: Mean of AP50 and AP50-95 with the float network's detections on held-back pictures as labels; None
            where that finds nothing.
        snr_db: Of the worst raw head on those pictures.
        int8: Convolutions that compute in int8.
        plan: What it made.
    """

    recipe: str
    agreement: float | None
    snr_db: float
    int8: int
    plan: QuantizationPlan


@dataclass(frozen=True)
class Quantization:
    """The int8 network that was chosen.

    Attributes:
        network: With its plan.
        trials: All that were tried, in their order.
        notes: What a person should know.
    """

    network: QuantizedGraph
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()


def quantize(
    graph: Graph,
    spec: ModelSpec,
    pictures: Pictures,
    *,
    ranges: str = "auto",
    seed: int = 0,
    recipes: Sequence[Recipe] = RECIPES,
    progress: Progress = lambda what: None,
) -> Quantization:
    """Make int8 of a network.

    Args:
        graph: Canonical; not changed.
        spec: Of it.
        pictures: To calibrate and to choose with.
        ranges: Of `ranges.MODES`.
        seed: Of everything random.
        recipes: To choose from.
        progress: Told what is done next.
    """
    expanded = expand_activations(graph)
    progress(f"calibrating with {len(pictures.calibration)} pictures")
    calibration = Calibration(expanded, spec, seed)
    calibration.run(lambda: stream(pictures.calibration, spec.input))
    walked = _to_walk(pictures, spec)
    importance = calibration.importance_of_places(walked)
    drafts = Drafts(expanded, calibration.statistics, spec)
    judge = _Judge(expanded, spec, pictures.held_back)
    trials: list[Trial] = []
    networks: list[QuantizedGraph] = []
    seen: set[tuple[bytes, bool, str]] = set()
    for recipe in recipes:
        wanted = replace(recipe, ranges=ranges if recipe.ranges == "auto" else recipe.ranges)
        progress(f"trying {recipe.name}")
        plan = drafts.draft(wanted)
        key = (structs.replace(plan, recipe="").to_json(), wanted.rounding, wanted.affine)
        if key in seen:  # a pass had nothing to do here
            continue
        seen.add(key)
        plan = finish(expanded, plan, wanted, walked, importance)
        networks.append(apply_plan(expanded, plan))
        seen_there = judge.judge(networks[-1])
        trials.append(Trial(recipe.name, *seen_there, len(networks[-1].structure.int8_convolutions()), plan))
    best = _best(trials)
    return Quantization(networks[best], tuple(trials), _notes(trials, best, pictures))


def from_plan(graph: Graph, plan: QuantizationPlan, where: str) -> Quantization:
    """An int8 network by a plan that was kept.

    Raises:
        InputError: The plan is for another network, or contradicts itself.
    """
    return Quantization(apply_plan(expand_activations(graph), plan, where))


def _to_walk(pictures: Pictures, spec: ModelSpec) -> list[np.ndarray]:
    size = 4 * int(np.prod(spec.input.shape))
    count = int(np.clip(_WALK_BYTES // size, _LEAST_WALKED, _MOST_WALKED))
    return list(stream(pictures.calibration[:count], spec.input))


def _best(trials: Sequence[Trial]) -> int:
    """The trial that agrees best, of those that may be written; fewer int8 convolutions must be clearly better.

    Where nothing is known of agreement it is `UNSEEN`.
    """

    def worth(trial: Trial) -> float:
        fewer = trial.int8 < max(other.int8 for other in trials)
        agreement = float(trial.recipe == UNSEEN) if trial.agreement is None else trial.agreement
        return agreement - (_WORTH_A_FLOAT if fewer else 0.0)

    least = MIN_SNR_DB["int8"] or 0.0
    return max(range(len(trials)), key=lambda i: (trials[i].snr_db >= least, worth(trials[i]), -i))


def _notes(trials: Sequence[Trial], best: int, pictures: Pictures) -> tuple[str, ...]:
    found = [f"{trial.recipe} {trial.agreement:.3f}" for trial in trials if trial.agreement is not None]
    if not found:
        why = "the float network finds nothing on the pictures held back"
        return (*pictures.notes, f"int8: {why}, so {trials[best].recipe!r} was taken unseen")
    many = f"{len(pictures.held_back)} pictures held back"
    return (*pictures.notes, f"int8: {trials[best].recipe!r} was chosen by agreement on {many}: {', '.join(found)}")


class _Judge:
    """Compares detections, and raw heads, with the float network's."""

    def __init__(self, graph: Graph, spec: ModelSpec, paths: Sequence[Path]):
        self._spec = spec
        self._items = [item.get()[0] for item in load_images(paths, Preparer([spec.input]))]
        self._outputs = self._run(graph)
        labels = Found.of_detections(self._detect(self._outputs, LABEL_CONFIDENCE))
        self._truth = Truth.of_detections(labels, len(spec.names)) if len(labels.image) else None

    def judge(self, network: QuantizedGraph) -> tuple[float | None, float]:
        """How well a network agrees, None where there is nothing to agree on, and the SNR of its worst head in dB."""
        outputs = self._run(quantize_onnx(network))
        heads = [tuple(head.tensors.values()) for head in self._spec.heads]
        worst = min(snr_db(_flat(self._outputs, names), _flat(outputs, names)) for names in heads)
        if self._truth is None:
            return None, worst
        accuracy = evaluate(self._truth, Found.of_detections(self._detect(outputs, _CANDIDATE_CONFIDENCE)))
        values = [accuracy.value(metric) or 0.0 for metric in ("mAP50", "mAP50_95")]
        return sum(values) / len(values), worst

    def _run(self, model: Graph) -> list[dict[str, np.ndarray]]:
        session = GraphSession(model)
        return [session({self._spec.input.tensor: tensor}) for tensor, _ in self._items]

    def _detect(self, outputs: Sequence[dict[str, np.ndarray]], confidence: float) -> list[Detections]:
        result = []
        for found, (_, placement) in zip(outputs, self._items, strict=True):
            boxes, scores, class_id = decode(self._spec, found, confidence)
            kept = select(self._spec, boxes, scores, class_id, _IOU, MAX_DETECTIONS)
            result.append(Detections(placement.to_source(boxes[kept]), scores[kept], class_id[kept]))
        return result


def _flat(outputs: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> np.ndarray:
    """All values of some tensors in all pictures."""
    return np.concatenate([found[name].reshape(-1) for found in outputs for name in names])
