"""Which layers an int8 network suffers from: each alone in int8, everything else in float."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import pairwise

import msgspec
import numpy as np

from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.groups import Group, groups_of, with_floats
from yolo_edge.export.quantization.importance import importance
from yolo_edge.export.quantization.judge import StreamJudge, workers
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.quantization.structure import computed_inputs, name_of
from yolo_edge.ondevice.spec import ModelSpec

CANDIDATES = 8
_ALIKE = 1.5  # noise by noise
_BARELY = 0.01  # of agreement: less is no difference

Progress = Callable[[str], None]


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """What one group does when it alone is in int8.

    Attributes:
        group: Its name.
        op: Of its first node.
        nodes: How many it has.
        sqnr_db: Signal to noise of the worst raw head.
        noise: Noise at the heads where it matters to detections, as a share of their signal there.
        agreement: AP50 with the float network's detections as labels, of the worst by noise; null: not measured.
    """

    group: str
    op: str
    nodes: int
    sqnr_db: float
    noise: float
    agreement: float | None = None


class Ranker:
    """Finds out what each group does alone."""

    def __init__(
        self, graph: Graph, spec: ModelSpec, network: QuantizedGraph, tensors: Sequence[np.ndarray], cache: Cache
    ):
        """Prepare.

        Args:
            graph: The float network, canonical, with expanded activations.
            spec: Of its raw heads.
            network: With the plan whose groups are ranked.
            tensors: Inputs, float32 [1, 3, height, width].
            cache: Keeps what was found.
        """
        self._graph, self._spec, self._network, self._cache = graph, spec, network, cache
        self._tensors = list(tensors)
        self.groups = groups_of(network.structure)
        self._exact: list[Mapping[str, np.ndarray]] = []
        self._weights: list[Mapping[str, np.ndarray]] = []

    def rank(self, judge: StreamJudge | None, progress: Progress) -> list[Damage]:
        """All groups, the worst first.

        Args:
            judge: For the candidates; None: by noise alone.
            progress: Told what is done next.
        """
        found = {group.name: damage for group in self.groups if (damage := self._known(group)) is not None}
        left = [group for group in self.groups if group.name not in found]
        if left:
            self._run_float()
            with ThreadPoolExecutor(workers()) as pool:
                running = {pool.submit(self._measure, group): group for group in left}
                for done in as_completed(running):
                    found[running[done].name] = done.result()
                    progress(f"ranking layers: {len(found)} of {len(self.groups)}")
        ranked = self._sorted([found[group.name] for group in self.groups])
        if judge is None or not judge.can_agree:
            return ranked
        candidates = []
        for number, damage in enumerate(ranked[:CANDIDATES], 1):
            progress(f"detecting with one layer in int8: {number} of {min(CANDIDATES, len(ranked))}")
            candidates.append(self._agreement(damage, judge))
        candidates.sort(key=lambda item: (round((item.agreement or 0.0) / _BARELY), -item.noise))
        return [*candidates, *ranked[CANDIDATES:]]

    def _sorted(self, found: Sequence[Damage]) -> list[Damage]:
        """By noise; of two that are alike the one that makes the tensor comes before the one that reads it.

        A tensor that is rounded badly hurts whoever has it in int8, on either side.
        """
        ranked = sorted(found, key=lambda item: -item.noise)
        for i, (worse, better) in enumerate(pairwise(ranked)):
            if worse.noise < _ALIKE * better.noise and self._reads(worse.group, better.group):
                ranked[i], ranked[i + 1] = better, worse
        return ranked

    def _reads(self, reader: str, maker: str) -> bool:
        members = {group.name: set(group.nodes) for group in self.groups}
        nodes = [node for node in self._graph.graph if name_of(node) in members[reader]]
        makers = [value.producer() for node in nodes for value in computed_inputs(node)]
        return any(producer is not None and name_of(producer) in members[maker] for producer in makers)

    def only(self, group: Group) -> QuantizedGraph:
        """The network with one group in int8."""
        plan = self._network.plan
        floats = set(plan.nodes) - set(group.nodes)
        return apply_plan(self._graph, with_floats(self._network.structure, plan, floats, "ranking"))

    def _known(self, group: Group) -> Damage | None:
        damage = self._cache.get(f"damage {group.name}", Damage)
        return damage if isinstance(damage, Damage) else None

    def _run_float(self) -> None:
        session = GraphSession(self._graph)
        self._exact = [session({self._spec.input.tensor: tensor}) for tensor in self._tensors]
        self._weights = [importance(self._spec, outputs) for outputs in self._exact]

    def _measure(self, group: Group) -> Damage:
        session = GraphSession(quantize_onnx(self.only(group)), threads=1)
        found = [session({self._spec.input.tensor: tensor}) for tensor in self._tensors]
        heads = dict.fromkeys(tuple(head.tensors.values()) for head in self._spec.heads)
        worst = min(snr_db(_flat(self._exact, names), _flat(found, names)) for names in heads)
        signal = noise = 0.0
        for exact, outputs, weights in zip(self._exact, found, self._weights, strict=True):
            for name, weight in weights.items():
                signal += float((weight * np.square(exact[name], dtype=np.float64)).sum())
                noise += float((weight * np.square(exact[name].astype(np.float64) - outputs[name])).sum())
        share = noise / signal if signal else 0.0
        damage = Damage(group=group.name, op=group.op, nodes=len(group.nodes), sqnr_db=round(worst, 2), noise=share)
        self._cache.put(f"damage {group.name}", damage)
        return damage

    def _agreement(self, damage: Damage, judge: StreamJudge) -> Damage:
        name = f"agreement {damage.group}"
        value = self._cache.get(name, float)
        if not isinstance(value, float):
            group = next(group for group in self.groups if group.name == damage.group)
            value = judge.score(quantize_onnx(self.only(group))).agreement or 0.0
            self._cache.put(name, value)
        return msgspec.structs.replace(damage, agreement=value)


def _flat(outputs: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> np.ndarray:
    return np.concatenate([found[name].reshape(-1) for found in outputs for name in names])
