"""Which layers an int8 network suffers from, and whose fault it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.quantization.support import PLAIN, Prepared, depthwise_darknet, residual_darknet, run_heads
from tests.int8_support import run_qdq
from yolo_edge.export.graph import Graph, add_constant
from yolo_edge.export.quantization import ranking as ranking_module
from yolo_edge.export.quantization.apply import apply_plan, weights_of
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.calibration import Calibration
from yolo_edge.export.quantization.causes import blame, suspects
from yolo_edge.export.quantization.groups import groups_of
from yolo_edge.export.quantization.judge import Score
from yolo_edge.export.quantization.ranking import Damage, Ranker
from yolo_edge.export.quantization.recipe import Drafts
from yolo_edge.export.verify import snr_db

LOUD = 0.01  # of the signal: what counts as noise of a bad layer


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(residual_darknet(tmp_path_factory.mktemp("net")), 3)


@pytest.fixture(scope="module")
def depthwise(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("net"), 5, "leaky", spread=0.3), 3)


@pytest.fixture(scope="module")
def faces(assets: Path) -> Prepared:
    return Prepared.of(assets / "darknet/yoloface/yoloface-50k.cfg", 3)


class Planted:
    """The same function, with the channels of a convolution scaled, which is made good in all that read it.

    What is added to it is scaled too, so that there may be more than one bad layer.
    """

    def __init__(self, graph: Graph, name: str, factor: np.ndarray):
        self.graph = graph.clone()
        self.layers: list[str] = []
        self._seen: set[str] = set()
        self._scale(next(node for node in self.graph.graph if node.name == name), factor)

    def _scale(self, node: ir.Node, factor: np.ndarray) -> None:
        self.layers.append(node.name or "")
        weight, bias = weights_of(node)
        self._replace(node, 1, weight * factor.reshape(-1, 1, 1, 1))
        self._replace(node, 2, bias * factor)
        self._forward(node.outputs[0], factor)

    def _replace(self, node: ir.Node, place: int, array: np.ndarray) -> None:
        constant = add_constant(self.graph.graph, f"{node.name}.planted", array.astype(np.float32))
        node.replace_input_with(place, constant)

    def _forward(self, value: ir.Value, factor: np.ndarray) -> None:
        if value.name in self._seen:
            return
        self._seen.add(value.name or "")
        assert not value.is_graph_output(), "nothing behind it could make it good"
        for node in {id(use.node): use.node for use in value.uses()}.values():
            if node.op_type == "Conv":
                weight, _ = weights_of(node)
                sides = (-1, 1, 1, 1) if weight.shape[1] == 1 else (1, -1, 1, 1)
                self._replace(node, 1, weight / factor.reshape(sides))
            elif node.op_type == "Concat":
                parts = [factor if part is value else np.ones(part.shape[1]) for part in node.inputs]
                self._forward(node.outputs[0], np.concatenate(parts))
            else:
                assert node.op_type in ("Add", "LeakyRelu", "MaxPool", "Resize"), node.op_type
                for other in node.inputs[:2] if node.op_type == "Add" else ():
                    self._backward(other, factor)
                self._forward(node.outputs[0], factor)

    def _backward(self, value: ir.Value, factor: np.ndarray) -> None:
        while value.name not in self._seen:
            producer = value.producer()
            if producer.op_type == "Conv":
                self._scale(producer, factor)
                return
            value = producer.inputs[0]


@contextmanager
def a_cache(folder: Path) -> Iterator[Cache]:
    cache = Cache(folder, [b"a"])
    try:
        yield cache
    finally:
        cache.close()


def rank(prepared: Prepared, graph: Graph, folder: Path) -> list[Damage]:
    calibration = Calibration(graph, prepared.spec)
    calibration.run(lambda: prepared.tensors)
    plan = Drafts(graph, calibration.statistics, prepared.spec).draft(PLAIN)
    with a_cache(folder) as cache:
        ranker = Ranker(graph, prepared.spec, apply_plan(graph, plan), prepared.tensors, cache)
        found = ranker.rank(None, lambda what: None)
        assert len(found) == len(ranker.groups)
    return found


def assert_same_function(prepared: Prepared, graph: Graph) -> None:
    exact, found = (run_heads(network, prepared.tensors[0]) for network in (prepared.graph, graph))
    assert min(snr_db(exact[name], found[name]) for name in exact) > 55


@pytest.mark.parametrize(
    ("network", "name"),
    [
        pytest.param("residual", "conv_0", id="the first, read by a dense convolution"),
        pytest.param("residual", "conv_2", id="read by a depthwise one"),
        pytest.param("residual", "conv_3", id="depthwise itself"),
        pytest.param("residual", "conv_5", id="behind a sum"),
        pytest.param("residual", "conv_6", id="depthwise, before one that is added"),
        pytest.param("residual", "conv_7", id="added to something"),
        pytest.param("residual", "conv_9", id="behind a sum, added and read"),
        pytest.param("residual", "conv_10", id="joined with something, and read"),
        pytest.param("residual", "conv_15", id="joined with what was enlarged"),
        pytest.param("residual", "conv_16", id="enlarged, then joined"),
        pytest.param("residual", "conv_19", id="before a head"),
        pytest.param("faces", "conv_0", id="the first of a real detector"),
        pytest.param("faces", "conv_5", id="of a real detector, behind a depthwise one"),
        pytest.param("depthwise", "conv_0", id="the first, read by a depthwise convolution"),
        pytest.param("depthwise", "conv_1", id="depthwise, read by a pointwise one"),
    ],
)
def test_a_planted_bad_layer_is_the_worst(
    network: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    prepared: Prepared = request.getfixturevalue(network)
    channels = next(node.outputs[0].shape[1] for node in prepared.graph.graph if node.name == name)
    planted = Planted(prepared.graph, name, np.where(np.arange(channels) % 2, 1000.0, 1.0))
    assert_same_function(prepared, planted.graph)
    ranking = rank(prepared, planted.graph, tmp_path)
    assert ranking[0].group in planted.layers
    assert ranking[0].cause is None
    # what suffers from it says so
    worst = max(ranking, key=lambda item: item.noise)
    assert worst.noise > LOUD
    assert worst.group in planted.layers or worst.cause in planted.layers


@given(data=st.data())
@settings(max_examples=12)
def test_a_bad_layer_of_any_kind_is_the_worst(
    residual: Prepared, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    numbers = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 19)
    name = data.draw(st.sampled_from([f"conv_{number}" for number in numbers]))
    channels = next(node.outputs[0].shape[1] for node in residual.graph.graph if node.name == name)
    loud = data.draw(st.sets(st.integers(0, channels - 1), min_size=1, max_size=channels - 1))
    planted = Planted(residual.graph, name, np.where(np.isin(np.arange(channels), list(loud)), 1000.0, 1.0))
    ranking = rank(residual, planted.graph, tmp_path_factory.mktemp("cache"))
    if max(item.noise for item in ranking) > LOUD:  # channels that matter to nothing do no harm
        assert ranking[0].group in planted.layers


def test_ranking_is_that_of_each_alone(depthwise: Prepared, tmp_path: Path) -> None:
    network = depthwise.quantized()
    with a_cache(tmp_path) as cache:
        ranker = Ranker(depthwise.graph, depthwise.spec, network, depthwise.tensors, cache)
        ranking = ranker.rank(None, lambda what: None)
    causes = {item.cause for item in ranking}
    for i, damage in enumerate(ranking):
        assert damage.group in causes or all(other.noise <= damage.noise for other in ranking[i:])
    for damage in ranking[:3]:
        group = next(group for group in ranker.groups if group.name == damage.group)
        alone = ranker.only(group)
        assert {node.name for node in alone.structure.graph.graph if alone.structure.is_int8(node)} == set(group.nodes)
        exact = [run_heads(depthwise.graph, tensor)["head_0"] for tensor in depthwise.tensors]
        found = [run_qdq(alone, tensor)["head_0"] for tensor in depthwise.tensors]
        assert damage.sqnr_db == pytest.approx(snr_db(np.stack(exact), np.stack(found)), abs=0.1)


def test_suspects(residual: Prepared) -> None:
    network = residual.quantized()
    related = suspects(network.structure, groups_of(network.structure))
    assert related["conv_1"] == {"conv_0"}
    assert "conv_3" in related["conv_4"]
    assert "conv_2" in related["conv_4"], "what is depthwise passes on what it gets"
    assert {"conv_4", "conv_7", "shortcut_8"} <= related["conv_9"], "a sum is of both"
    assert "conv_16" in related["conv_15"], "joined, they share a scale"
    assert all(group not in others for group, others in related.items())


def test_blame() -> None:
    related = {"a": {"b"}, "b": {"a"}, "c": {"a", "b"}, "d": {"a"}}
    noise = {"a": 0.5, "b": 0.4, "c": 0.6, "d": 1e-4}
    assert blame(noise, {"a": 0.5, "b": 0.01, "c": 0.01, "d": 1e-6}, related) == {"b": "a", "c": "a", "d": "a"}
    # nobody is blamed for what is a group's own, nor by those of whom nothing is known
    assert blame(noise, {"a": 0.5, "b": 0.3, "c": 0.5}, related) == {}
    # little noise may be anybody's
    assert blame({"d": 1e-4}, {"a": 5e-6, "d": 1e-6}, related) == {}
    assert blame({"d": 1e-1}, {"a": 5e-6, "d": 1e-6}, related) == {"d": "a"}


class _Judge:
    """Says what it was told of each network that it sees, one after the other."""

    can_agree = True

    def __init__(self, scores: Sequence[Score]):
        self._scores = iter(scores)
        self.asked: list[bool] = []

    def score(self, model: Graph, *, with_intervals: bool = True) -> Score:
        self.asked.append(with_intervals)
        return next(self._scores)


def test_candidates_are_judged_by_what_the_limit_is_of(
    depthwise: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranker, "_with_causes", lambda self, ranked, progress: list(ranked))
    network = depthwise.quantized()

    def order(folder: str, scores: Sequence[Score], *, by_drop: bool) -> tuple[list[int], list[Damage]]:
        judge = _Judge(scores)
        with a_cache(tmp_path / folder) as cache:
            ranker = Ranker(depthwise.graph, depthwise.spec, network, depthwise.tensors, cache)
            plain = [item.group for item in ranker.rank(None, lambda what: None)]
            found = ranker.rank(judge, lambda what: None, by_drop=by_drop)  # type: ignore[arg-type]
            # what was found is not measured again
            again = ranker.rank(_Judge([]), lambda what: None, by_drop=by_drop)  # type: ignore[arg-type]
        assert again == found
        assert judge.asked == [by_drop] * len(scores)
        assert [item.group for item in found[8:]] == plain[8:]
        return [plain.index(item.group) for item in found[:8]], found

    none = [Score(0.99, 0.0, interval=(-1.0, 1.0))] * 4
    scores = [
        Score(0.97, 2.0, interval=(-0.5, 4.0)),  # much, that may be chance
        Score(0.99, 0.4, interval=(0.1, 0.7)),  # little, beyond doubt
        Score(0.95, -1.0, interval=(-2.0, -0.2)),  # a gain is no harm; agreement decides
        Score(0.98, 1.5, interval=(0.9, 2.0)),
        *none,
    ]
    places, found = order("drop", scores, by_drop=True)
    assert places == [3, 1, 2, 0, 4, 5, 6, 7]
    assert (found[0].drop, found[0].interval) == (1.5, (0.9, 2.0))
    places, found = order("agreement", scores, by_drop=False)
    assert places == [2, 0, 3, 1, 4, 5, 6, 7]
    assert all(item.drop is None for item in found)


def test_causes_come_first() -> None:
    def damage(name: str, cause: str | None = None) -> Damage:
        return Damage(group=name, op="Conv", nodes=1, sqnr_db=10.0, noise=0.1, cause=cause)

    def order(*ranked: Damage) -> str:
        return "".join(item.group for item in ranking_module._causes_first(ranked))

    assert order(damage("a"), damage("b"), damage("c")) == "abc"
    assert order(damage("a", "c"), damage("b"), damage("c")) == "cab"
    assert order(damage("a", "b"), damage("b", "c"), damage("c")) == "cba"
    assert order(damage("a", "b"), damage("b", "a"), damage("c")) == "bac", "each blames the other"
    assert all(len(order(damage("a", x), damage("b", y), damage("c"))) == 3 for x, y in pairwise(["b", "c", "a"]))
