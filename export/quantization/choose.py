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
from yolo_edge.evaluation import LABEL_CONFIDENCE, Found
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.calibration import Calibration
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.judge import CANDIDATE_CONFIDENCE, StreamJudge, detect, likeness
from yolo_edge.export.quantization.pictures import Pictures, stream
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.recipe import RECIPES, UNSEEN, Drafts, Recipe, finish
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.verify import MIN_SNR_DB
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.spec import ModelSpec

_WALK_BYTES = 40 << 20  # of input tensors that networks are walked through with
_MOST_WALKED, _LEAST_WALKED = 16, 8
_WORTH_A_FLOAT = 0.05  # of agreement, on all pictures: what layers in float must gain

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
    kept: Cache | None = None,
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
        kept: Recipes that were tried before, and where new ones are put; None: nothing is kept.
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
    seen: set[tuple[bytes, bool, str]] = set()
    for recipe in recipes:
        wanted = replace(recipe, ranges=ranges if recipe.ranges == "auto" else recipe.ranges)
        progress(f"trying {recipe.name}")
        plan = drafts.draft(wanted)
        key = (structs.replace(plan, recipe="").to_json(), wanted.rounding, wanted.affine)
        if key in seen:  # a pass had nothing to do here
            continue
        seen.add(key)
        trial = kept.get(f"recipe {recipe.name}", Trial) if kept is not None else None
        if not isinstance(trial, Trial):
            plan = finish(expanded, plan, wanted, walked, importance)
            network = apply_plan(expanded, plan)
            trial = Trial(recipe.name, *judge.judge(network), len(network.structure.int8_convolutions()), plan)
            if kept is not None:
                kept.put(f"recipe {recipe.name}", trial)
        trials.append(trial)

    def gain(full: int, fewer: int) -> float:
        progress("looking at all pictures, whether layers in float are worth it")
        there = StreamJudge(expanded, spec, (*pictures.held_back, *pictures.calibration))
        networks = (apply_plan(expanded, trials[i].plan) for i in (full, fewer))
        before, after = (there.likeness(quantize_onnx(network)) or 0.0 for network in networks)
        return after - before

    best, why = _best(trials, gain)
    return Quantization(apply_plan(expanded, trials[best].plan), tuple(trials), (*_notes(trials, best, pictures), *why))


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


def _best(trials: Sequence[Trial], gain: Callable[[int, int], float]) -> tuple[int, tuple[str, ...]]:
    """The trial that agrees best, of those that may be written, and what a person should know of it.

    Fewer int8 convolutions must be clearly better, on more pictures than the few held back: the statistics came from
    the others, but for both alike. Where nothing is known of agreement `UNSEEN` is taken.

    Args:
        trials: To choose from.
        gain: What the second of two gains in agreement over the first, on all pictures.
    """
    least = MIN_SNR_DB["int8"] or 0.0
    most = max(trial.int8 for trial in trials)

    def worth(i: int) -> tuple[bool, float]:
        trial = trials[i]
        agreement = float(trial.recipe == UNSEEN) if trial.agreement is None else trial.agreement
        return trial.snr_db >= least, agreement

    everything = [i for i, trial in enumerate(trials) if trial.int8 == most]
    full = max(everything, key=worth)
    fewer = max((i for i in range(len(trials)) if i not in everything), key=worth, default=full)
    if worth(fewer) <= worth(full):
        return full, ()
    if worth(fewer)[0] != worth(full)[0]:
        return fewer, ()
    gained = gain(full, fewer)
    floats = most - trials[fewer].int8
    note = f"{trials[fewer].recipe!r} gains {gained:+.3f} over {trials[full].recipe!r} on all pictures"
    if gained < _WORTH_A_FLOAT:
        return full, (f"int8: {note}: too little for {floats} convolutions in float",)
    return fewer, (f"int8: {note}: worth {floats} convolutions in float",)


def _notes(trials: Sequence[Trial], best: int, pictures: Pictures) -> tuple[str, ...]:
    found = [f"{trial.recipe} {trial.agreement:.3f}" for trial in trials if trial.agreement is not None]
    if not found:
        why = "the float network finds nothing on the pictures held back"
        return (*pictures.notes, f"int8: {why}, so {trials[best].recipe!r} was taken unseen")
    held_back = len(pictures.held_back)
    many = f"{held_back} picture{'' if held_back == 1 else 's'} held back"
    return (*pictures.notes, f"int8: {trials[best].recipe!r} was chosen by agreement on {many}: {'; '.join(found)}")


class _Judge:
    """Compares detections, and raw heads, with the float network's."""

    def __init__(self, graph: Graph, spec: ModelSpec, paths: Sequence[Path]):
        self._spec = spec
        self._items = [item.get()[0] for item in load_images(paths, Preparer([spec.input]))]
        self._outputs = self._run(graph)
        self._labels = Found.of_detections(self._detect(self._outputs, LABEL_CONFIDENCE))

    def judge(self, network: QuantizedGraph) -> tuple[float | None, float]:
        """How well a network agrees, None where there is nothing to agree on, and the SNR of its worst head in dB."""
        outputs = self._run(quantize_onnx(network))
        heads = [tuple(head.tensors.values()) for head in self._spec.heads]
        worst = min(snr_db(_flat(self._outputs, names), _flat(outputs, names)) for names in heads)
        return likeness(self._labels, Found.of_detections(self._detect(outputs, CANDIDATE_CONFIDENCE))), worst

    def _run(self, model: Graph) -> list[dict[str, np.ndarray]]:
        session = GraphSession(model)
        return [session({self._spec.input.tensor: tensor}) for tensor, _ in self._items]

    def _detect(self, outputs: Sequence[dict[str, np.ndarray]], confidence: float) -> list[Detections]:
        pairs = zip(outputs, self._items, strict=True)
        return [detect(self._spec, found, placement, confidence) for found, (_, placement) in pairs]


def _flat(outputs: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> np.ndarray:
    """All values of some tensors in all pictures."""
    return np.concatenate([found[name].reshape(-1) for found in outputs for name in names])
