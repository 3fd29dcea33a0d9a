"""Which layers an int8 network suffers from: each alone in int8, everything else in float."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import TypeVar

import msgspec
import numpy as np

from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.causes import Ranges, blame, only_own, suspects
from yolo_edge.export.quantization.groups import Group, groups_of, with_floats
from yolo_edge.export.quantization.importance import importance
from yolo_edge.export.quantization.judge import Score, StreamJudge, workers
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.verify import snr_db
from yolo_edge.ondevice.spec import ModelSpec

CANDIDATES = 8
_BARELY = 0.01  # of agreement: less is no difference

T = TypeVar("T")
Progress = Callable[[str], None]


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """What one group does when it alone is in int8.

    Attributes:
        group: Its name.
        op: Of its first node.
        nodes: How many it has.
        sqnr_db: Signal to noise of the worst raw head.
        noise: Noise at the heads where it matters to detections, as a share of their signal there.
        own: What is left of `noise` when others are not held against the group (`causes`) and weights are rounded to
            the nearest; more than `noise` where those of the plan were fitted. null: not measured.
        cause: The group that most of `noise` comes from; null: itself, or not looked for.
        agreement: AP50 with the float network's detections as labels, of the worst by noise; null: not measured.
        drop: Points of mAP50 lost on the pictures that steer, of the worst by noise; null: the limit is of agreement.
        interval: 95 % interval of `drop`.
    """

    group: str
    op: str
    nodes: int
    sqnr_db: float
    noise: float
    own: float | None = None
    cause: str | None = None
    agreement: float | None = None
    drop: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def harm(self) -> tuple[float, int, float]:
        """Orders groups, the most harmful first: by the drop that is beyond doubt, then agreement, then noise."""
        certain = 0.0 if self.interval is None else max(self.interval[0], 0.0)
        agreement = 0 if self.agreement is None else round(self.agreement / _BARELY)
        return -certain, agreement, -self.noise


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

    def rank(self, judge: StreamJudge | None, progress: Progress, *, by_drop: bool = False) -> list[Damage]:
        """All groups, the worst first; one that another suffers from comes before that.

        Args:
            judge: For the candidates; None: by noise alone.
            progress: Told what is done next.
            by_drop: Candidates are judged by the mAP50 that they lose, not by agreement alone.
        """
        found = self._all("damage", self.groups, Damage, self._measure, "ranking layers", progress)
        ranked = sorted(found.values(), key=lambda item: -item.noise)
        ranked = self._with_causes(ranked, progress)
        candidates = ranked[:CANDIDATES]
        if judge is not None and (by_drop or judge.can_agree):
            for number, damage in enumerate(candidates):
                progress(f"detecting with one layer in int8: {number + 1} of {len(candidates)}")
                candidates[number] = self._judged(damage, judge, by_drop)
            candidates.sort(key=lambda item: item.harm)
        return list(_causes_first([*candidates, *ranked[CANDIDATES:]]))

    def only(self, group: Group) -> QuantizedGraph:
        """The network with one group in int8."""
        plan = self._network.plan
        floats = set(plan.nodes) - set(group.nodes)
        return apply_plan(self._graph, with_floats(self._network.structure, plan, floats, "ranking"))

    def _with_causes(self, ranked: Sequence[Damage], progress: Progress) -> list[Damage]:
        """Find out whom the worst suffer from."""
        related = suspects(self._network.structure, self.groups)
        worst = {damage.group for damage in ranked[:CANDIDATES]}
        wanted = worst.union(*(related[group] for group in worst))
        groups = [group for group in self.groups if group.name in wanted]
        ranges: list[Ranges] = []
        lock = Lock()

        def measure(group: Group) -> float:
            with lock:
                if not ranges:
                    ranges.append(Ranges(self._network.graph, self._tensors))
            return self._noise(only_own(self.only(group), group.nodes, ranges[0]))[0]

        own = self._all("own", groups, float, measure, "looking for causes", progress)
        causes = blame({damage.group: damage.noise for damage in ranked}, own, related)
        return [
            msgspec.structs.replace(damage, own=own.get(damage.group), cause=causes.get(damage.group))
            for damage in ranked
        ]

    def _all(
        self,
        what: str,
        groups: Sequence[Group],
        type_: type[T],
        measure: Callable[[Group], T],
        doing: str,
        progress: Progress,
    ) -> dict[str, T]:
        """Something of each group, from the cache or measured by as many threads as there are processors."""
        found = {}
        for group in groups:
            known = self._cache.get(f"{what} {group.name}", type_)
            if isinstance(known, type_):
                found[group.name] = known
        left = [group for group in groups if group.name not in found]
        if left and not self._exact:
            self._run_float()

        def keep(group: Group) -> T:
            value = measure(group)
            self._cache.put(f"{what} {group.name}", value)
            return value

        with ThreadPoolExecutor(workers()) as pool:
            running = {pool.submit(keep, group): group for group in left}
            for done in as_completed(running):
                found[running[done].name] = done.result()
                progress(f"{doing}: {len(found)} of {len(groups)}")
        return {group.name: found[group.name] for group in groups}

    def _run_float(self) -> None:
        session = GraphSession(self._graph)
        self._exact = [session({self._spec.input.tensor: tensor}) for tensor in self._tensors]
        self._weights = [importance(self._spec, outputs) for outputs in self._exact]

    def _measure(self, group: Group) -> Damage:
        noise, worst = self._noise(quantize_onnx(self.only(group)))
        return Damage(group=group.name, op=group.op, nodes=len(group.nodes), sqnr_db=round(worst, 2), noise=noise)

    def _noise(self, model: Graph) -> tuple[float, float]:
        """Noise as of `Damage.noise`, and the signal to noise of the worst head in dB."""
        session = GraphSession(model, threads=1)
        found = [session({self._spec.input.tensor: tensor}) for tensor in self._tensors]
        heads = dict.fromkeys(tuple(head.tensors.values()) for head in self._spec.heads)
        worst = min(snr_db(_flat(self._exact, names), _flat(found, names)) for names in heads)
        signal = noise = 0.0
        for exact, outputs, weights in zip(self._exact, found, self._weights, strict=True):
            for name, weight in weights.items():
                signal += float((weight * np.square(exact[name], dtype=np.float64)).sum())
                noise += float((weight * np.square(exact[name].astype(np.float64) - outputs[name])).sum())
        return (noise / signal if signal else 0.0), worst

    def _judged(self, damage: Damage, judge: StreamJudge, by_drop: bool) -> Damage:
        name = f"{'drop' if by_drop else 'agreement'} {damage.group}"
        score = self._cache.get(name, Score)
        if not isinstance(score, Score):
            group = next(group for group in self.groups if group.name == damage.group)
            score = judge.score(quantize_onnx(self.only(group)), with_intervals=by_drop)
            self._cache.put(name, score)
        agreement = score.agreement if judge.can_agree else None
        if not by_drop:
            return msgspec.structs.replace(damage, agreement=agreement)
        return msgspec.structs.replace(damage, agreement=agreement, drop=score.drop, interval=score.interval)


def _causes_first(ranked: Sequence[Damage]) -> Iterator[Damage]:
    """The same, each behind the group that it suffers from."""
    by_name = {damage.group: damage for damage in ranked}
    given: set[str] = set()
    for damage in ranked:
        chain = [damage]
        while (cause := chain[-1].cause) is not None and by_name[cause] not in chain:
            chain.append(by_name[cause])
        for item in reversed(chain):
            if item.group not in given:
                given.add(item.group)
                yield item


def _flat(outputs: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> np.ndarray:
    return np.concatenate([found[name].reshape(-1) for found in outputs for name in names])
