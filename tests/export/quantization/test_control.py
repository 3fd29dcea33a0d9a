"""Accuracy control: groups, ranking, the cache, and the way to a limit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import onnx_ir as ir
import pytest
from msgspec import structs

from tests.export.quantization.support import Prepared, depthwise_darknet, run_heads
from tests.int8_support import run_qdq
from tests.support import random_picture
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.quantization import control as controlling
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.control import Controlled, Limit, control, plan_of, point_of
from yolo_edge.export.quantization.front import read_front, reversals
from yolo_edge.export.quantization.groups import groups_of
from yolo_edge.export.quantization.judge import StreamJudge
from yolo_edge.export.quantization.ranking import Damage, Ranker
from yolo_edge.ondevice.errors import InputError

Opener = Callable[[Path, bytes], Cache]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("net"), 5, "leaky", spread=0.3), 4)


@pytest.fixture(scope="module")
def swish(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("net"), 2, "swish", spread=0.3), 2)


@pytest.fixture
def caches() -> Iterator[Callable[[Path, bytes], Cache]]:
    """Opens caches, and closes them."""
    opened = []

    def open_cache(folder: Path, key: bytes = b"a") -> Cache:
        opened.append(Cache(folder, [key]))
        return opened[-1]

    yield open_cache
    for cache in opened:
        cache.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i}.png" for i in range(12)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), random_picture(90, 70, i))
    return paths


def test_groups_keep_activations_with_their_convolutions(prepared: Prepared, swish: Prepared) -> None:
    for which in (prepared, swish):
        network = which.quantized()
        groups = groups_of(network.structure)
        nodes = [name for group in groups for name in group.nodes]
        assert len(nodes) == len(set(nodes))
        by_name = {node.name: node for node in network.graph.graph}
        apart = {node.name for node in network.graph.graph if network.structure.is_int8(node)} - set(nodes)
        assert {by_name[name].op_type for name in apart} <= {"Concat", "MaxPool"}
        for group in groups:
            if group.op == "Conv" and group.nodes[0] not in ("conv_2", "conv_4", "conv_7", "conv_13"):
                assert len(group.nodes) == (2 if which is prepared else 3), group


def test_float_groups_are_float(prepared: Prepared) -> None:
    """With all groups in float nothing is rounded any more; with some, they are not."""
    network = prepared.quantized()
    groups = groups_of(network.structure)
    every = apply_plan(prepared.graph, plan_of(network, [name for group in groups for name in group.nodes]))
    assert not every.structure.int8_convolutions()
    for tensor in prepared.tensors[:2]:
        exact, found = run_heads(prepared.graph, tensor), run_qdq(every, tensor)
        assert min(snr_db(exact[name], found[name]) for name in exact) > 80
    some = apply_plan(prepared.graph, plan_of(network, groups[0].nodes))
    assert len(some.structure.int8_convolutions()) == len(network.structure.int8_convolutions()) - 1


def test_the_cache_goes_on(prepared: Prepared, tmp_path: Path, caches: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    network = prepared.quantized()

    def ranker(cache: Cache) -> Ranker:
        return Ranker(prepared.graph, prepared.spec, network, prepared.tensors, cache)

    cache = caches(tmp_path, b"a")
    first = ranker(cache)
    measure, done = Ranker._measure, []

    def count(self: Ranker, group: object) -> Damage:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(group)
        return measure(self, group)  # type: ignore[arg-type]

    monkeypatch.setattr(Ranker, "_measure", count)
    with pytest.raises(KeyboardInterrupt):
        first.rank(None, lambda what: None)
    cache.close()
    with cache.path.open("ab") as file:
        file.write(b'["damage conv_0", {"gro')  # killed while it wrote
    again = caches(tmp_path, b"a")
    assert again.found >= 4
    known = again.found
    done.clear()
    monkeypatch.setattr(Ranker, "_measure", lambda self, group: done.append(group) or measure(self, group))
    whole = ranker(again).rank(None, lambda what: None)
    assert len(done) == len(first.groups) - known
    monkeypatch.setattr(Ranker, "_measure", measure)
    assert whole == ranker(caches(tmp_path, b"b")).rank(None, lambda what: None), "another key: from the beginning"


def test_a_cache_of_rubbish(tmp_path: Path, caches: Opener) -> None:
    cache = caches(tmp_path, b"x")
    cache.put("a", 1.5)
    cache.close()
    cache.path.write_bytes(cache.path.read_bytes() + b'\n{"no": "pair"}\n["b", "text"]\n\xff\xfe\n')
    again = caches(tmp_path, b"x")
    assert again.get("a", float) == 1.5
    assert again.get("b", float) is None
    assert again.get("c", float) is None
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=r"cannot keep .*--cache DIR"):
        Cache(file / "inside", [])


def run_control(
    prepared: Prepared, pictures: list[Path], cache: Cache, limit: Limit, calls: list[QuantizedGraph] | None = None
) -> Controlled:
    def clock(network: QuantizedGraph) -> float:
        if calls is not None:
            calls.append(network)
        return 1 - len(network.structure.int8_convolutions()) / 40

    plan = prepared.draft()
    # a range that is far too short, so that there is something to mend
    old = plan.tensors["conv_5_norm"]
    bad = structs.replace(old, scale=old.scale * 0.15)
    network = apply_plan(prepared.graph, structs.replace(plan, tensors={**plan.tensors, "conv_5_norm": bad}))
    halves = pictures[:6], pictures[6:]
    steer, judge = (StreamJudge(prepared.graph, prepared.spec, half) for half in halves)
    return control(
        prepared.graph,
        prepared.spec,
        network,
        limit,
        steer=steer,
        judge=judge,
        steering_images=6,
        judging_images=6,
        tensors=prepared.tensors,
        clock=clock,
        format_="onnx",
        cache=cache,
        progress=lambda what: None,
    )


def test_control(prepared: Prepared, pictures: list[Path], tmp_path: Path, caches: Opener) -> None:
    calls: list[QuantizedGraph] = []
    found = run_control(prepared, pictures, caches(tmp_path, b"c"), Limit(min_agreement=0.9), calls)
    front = found.front
    assert front.ranking[0].group == "conv_5"
    assert len(front.points) >= 5
    assert [point.number for point in front.points] == list(range(len(front.points)))
    assert front.points[0].floats == ()
    assert front.points[-1].int8 == 0
    assert front.points[-1].agreement == pytest.approx(1)
    counts = [len(point.floats) for point in front.points]
    assert counts == sorted(set(counts))
    expected = [point.expected for point in front.points]
    assert expected == sorted(expected, reverse=True)
    assert not front.points[0].holds
    assert front.chosen is not None
    assert found.network is not None
    point = front.points[front.chosen]
    assert point.holds
    assert not front.points[front.chosen - 1].holds
    assert "conv_5" in point.floats
    assert not reversals(front.points, drops=False)
    for item in front.points:
        assert item.agreement_interval is not None
        assert item.agreement_interval[0] <= (item.agreement or 0.0) <= item.agreement_interval[1]
    assert len(found.network.structure.int8_convolutions()) == point.int8
    assert front.judged is not None
    assert front.judged.images == 6
    # what was kept gives the same network
    path = tmp_path / "x.front.json"
    path.write_bytes(front.to_json())
    kept = read_front(path)
    assert kept == front
    assert point_of(prepared.graph, kept, front.chosen).plan == found.network.plan
    with pytest.raises(InputError, match="no point 99"):
        point_of(prepared.graph, kept, 99)
    # nothing is measured twice
    before = len(calls)
    assert run_control(prepared, pictures, caches(tmp_path, b"c"), Limit(min_agreement=0.9), calls).front == front
    assert len(calls) == before


def test_a_limit_that_cannot_be_reached(
    prepared: Prepared, pictures: list[Path], tmp_path: Path, caches: Opener
) -> None:
    found = run_control(prepared, pictures, caches(tmp_path, b"c"), Limit(max_drop=0.0))
    assert found.network is None, "there are no labels: no drop can be told"
    assert found.front.chosen is None
    assert found.front.judged is None


def test_coarse_steps() -> None:
    for groups in (1, 2, 5, 60, 103):
        counts = controlling._coarse(groups)
        assert counts[0] == 0
        assert counts[-1] == groups
        assert counts == sorted(set(counts))
        assert len(counts) >= min(groups + 1, 5)


def test_limits() -> None:
    assert Limit(max_drop=0.5).holds(Limit(max_drop=0.5).loss(None, 0.5))
    assert not Limit(max_drop=0.5).holds(Limit(max_drop=0.5).loss(0.9, 0.6))
    assert Limit(min_agreement=0.97).holds(Limit(min_agreement=0.97).loss(0.97, 5))
    assert not Limit(min_agreement=0.97).holds(Limit(min_agreement=0.97).loss(None, None))
    assert str(Limit(max_drop=0.5)) == "max-drop 0.5"


def test_the_graph_is_left_alone(prepared: Prepared) -> None:
    before = ir.to_proto(prepared.graph).SerializeToString()
    network = prepared.quantized()
    apply_plan(prepared.graph, plan_of(network, groups_of(network.structure)[2].nodes))
    assert ir.to_proto(prepared.graph).SerializeToString() == before
