"""Accuracy control: ranking, the front, roles of pictures, the cache."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.export.quantization.support import Prepared, depthwise_darknet, run_heads
from tests.int8_support import run_qdq
from tests.support import random_picture
from yolo_edge.datasets import read_dataset
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.controlled import describe
from yolo_edge.export.quantization import control as controlling
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.control import Controlled, Limit, control, plan_of, point_of
from yolo_edge.export.quantization.front import Front, Point, expect, mark_best, read_front, reversals
from yolo_edge.export.quantization.groups import groups_of
from yolo_edge.export.quantization.judge import StreamJudge
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.ranking import Damage, Ranker
from yolo_edge.export.quantization.roles import roles_of_dataset, roles_of_pictures
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


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_what_is_expected_never_rises(losses: list[float]) -> None:
    found = expect(losses)
    assert len(found) == len(losses)
    assert all(b <= a + 1e-9 for a, b in pairwise(found))
    assert sum(found) == pytest.approx(sum(losses), abs=1e-6)
    assert expect(sorted(losses, reverse=True)) == sorted(losses, reverse=True)
    # the nearest of all that never rise: no constant, and no other that does not rise either
    error = sum((a - b) ** 2 for a, b in zip(found, losses, strict=True))
    for other in (np.minimum.accumulate(losses), np.full(len(losses), np.mean(losses))):
        assert error <= float(np.square(other - losses).sum()) + 1e-6


def test_points_that_no_other_beats() -> None:
    def point(number: int, time: float, expected: float) -> Point:
        return Point(number=number, floats=(), int8=1, agreement=None, drop=None, time=time, expected=expected)

    marked = mark_best((point(0, 0.5, 3), point(1, 0.6, 3), point(2, 0.7, 1), point(3, 1.0, 0), point(4, 1.0, 0)))
    assert [item.best for item in marked] == [True, False, True, True, True]


def test_what_is_not_monotone_beyond_noise() -> None:
    def point(number: int, agreement: tuple[float, float], drop: tuple[float, float]) -> Point:
        middle = sum(agreement) / 2
        return Point(
            number=number,
            floats=(),
            int8=1,
            agreement=middle,
            drop=sum(drop) / 2,
            time=1.0,
            agreement_interval=agreement,
            interval=drop,
        )

    falling = [point(0, (0.90, 0.94), (1, 3)), point(1, (0.96, 0.98), (-1, 1)), point(2, (1, 1), (0, 0))]
    assert reversals(falling, drops=False) == reversals(falling, drops=True) == []
    noisy = [falling[0], falling[1], point(2, (0.93, 0.97), (0.5, 2)), point(3, (1, 1), (0, 0))]
    assert reversals(noisy, drops=False) == reversals(noisy, drops=True) == []
    worse = [*noisy[:2], point(2, (0.80, 0.90), (2.5, 5)), noisy[3]]
    assert reversals(worse, drops=False) == reversals(worse, drops=True) == [(1, 2)]
    # the float network itself worse than a mix, by more than chance
    gains = [point(0, (0.9, 0.9), (-3, -1)), point(1, (1, 1), (0, 0))]
    assert reversals(gains, drops=True) == [(0, 1)]
    assert reversals([structs.replace(item, agreement_interval=None) for item in worse], drops=False) == []
    assert reversals(worse[:1], drops=True) == reversals([], drops=True) == []


@given(st.integers(0, 2**32 - 1))
def test_noise_alone_is_no_reversal(seed: int) -> None:
    """Fronts that are flat, and measured with noise of the size that they say, hardly ever seem to rise."""
    rng = np.random.default_rng(seed)
    false_alarms = 0
    for _ in range(40):
        found = rng.normal(1.0, 0.5, 10)
        points = [
            Point(
                number=i,
                floats=(),
                int8=1,
                agreement=None,
                drop=drop,
                time=1.0,
                interval=(drop - 0.98, drop + 0.98),
            )
            for i, drop in enumerate(found.tolist())
        ]
        false_alarms += bool(reversals(points, drops=True))
    assert false_alarms <= 12  # 2 are expected; more than 12 by chance once in 1e6


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


def test_what_is_said_of_a_front() -> None:
    def damage(name: str, cause: str | None, interval: tuple[float, float] | None) -> Damage:
        drop = None if interval is None else sum(interval) / 2
        return Damage(
            group=name, op="Conv", nodes=2, sqnr_db=20.0, noise=0.1, cause=cause, drop=drop, interval=interval
        )

    def point(number: int, drop: float, half: float) -> Point:
        return Point(
            number=number,
            floats=("a", "b")[:number],
            int8=2 - number,
            agreement=0.9,
            drop=drop,
            time=1.0,
            interval=(drop - half, drop + half),
            agreement_interval=(0.88, 0.92),
        )

    front = Front(
        limit="max-drop 0.5",
        format="onnx",
        steering_images=40,
        convolutions=2,
        points=(point(0, 0.2, 2.0), point(1, 0.1, 1.5), point(2, 0.0, 0.0)),
        chosen=0,
        judged=None,
        ranking=(damage("a", None, (1.0, 3.0)), damage("b", "a", None)),
        groups={"a": ("a",), "b": ("b",)},
        plan=QuantizationPlan(),
    )
    said = describe(front)
    assert said[0].endswith("most harm: a (20.0 dB, loses 2.00 points [+1.00, +3.00]), b (20.0 dB, because of a)")
    assert any("40 pictures that steer tell mAP50 to ± 1.8 points only" in text for text in said)
    assert not any("do not always lose less" in text for text in said)
    fine = structs.replace(front, points=tuple(structs.replace(item, interval=(-0.1, 0.1)) for item in front.points))
    assert not any("tell mAP50" in text for text in describe(fine))
    broken = structs.replace(front, points=(point(0, 0.0, 0.1), point(1, 5.0, 0.1), point(2, 0.0, 0.0)))
    assert any("(points 0 and 1)" in text for text in describe(broken))
    agrees = structs.replace(front, limit="min-agreement 0.99")
    assert any("tell agreement to ± 0.020 only" in text for text in describe(agrees))


def test_a_limit_that_cannot_be_reached(
    prepared: Prepared, pictures: list[Path], tmp_path: Path, caches: Opener
) -> None:
    found = run_control(prepared, pictures, caches(tmp_path, b"c"), Limit(max_drop=0.0))
    assert found.network is None, "there are no labels: no drop can be told"
    assert found.front.chosen is None
    assert found.front.judged is None


def test_fronts_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    assert read_front(path) is None
    path.write_text('{"points": 3}')
    with pytest.raises(InputError, match="not a front"):
        read_front(path)
    path.write_text("[" * 100_000)
    assert read_front(path) is None


@given(st.integers(12, 300), st.integers(2, 100), st.integers(0, 5))
def test_no_picture_has_two_roles(count: int, calibrating: int, seed: int) -> None:
    paths = [Path(f"/pictures/{i}.jpg") for i in range(count)]
    if count - min(calibrating, count // 2) < 8:
        return
    roles = roles_of_pictures(paths, calibrating, seed)
    parts = [set(roles.calibration), set(roles.steer.paths), set(roles.judge.paths)]
    assert sum(map(len, parts)) == len(set.union(*parts)) <= count
    assert len(roles.calibration) == min(calibrating, count // 2)
    assert abs(len(roles.steer.paths) - len(roles.judge.paths)) <= 1
    assert "steer" in roles.notes[0]


def test_roles_of_a_dataset(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / part).mkdir(parents=True)
        for i in range(10):
            cv2.imwrite(str(tmp_path / "images" / part / f"{i}.png"), random_picture(20, 20, i))
            lines = [f"0 0.5 0.5 0.2 0.{number + 1}\n" for number in range(i % 3 + 1)]
            (tmp_path / "labels" / part / f"{i}.txt").write_text("".join(lines))
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    validation = read_dataset(tmp_path / "data.yaml")
    validation_boxes = {path: int((validation.image == i).sum()) for i, path in enumerate(validation.paths)}
    training = read_dataset(tmp_path / "data.yaml", training=True).paths
    roles = roles_of_dataset(validation, training)
    assert set(roles.calibration) == set(training)
    assert len(roles.steer.paths) == len(roles.judge.paths) == 5
    for part in (roles.steer, roles.judge):
        assert part.dataset is not None
        assert part.dataset.paths == part.paths
        for number, path in enumerate(part.paths):
            of_picture = part.dataset.image == number
            assert of_picture.sum() == validation_boxes[path]
    assert roles.notes == ("the training part calibrates, 5 other pictures steer, 5 others judge",)
    named = roles_of_dataset(validation, training, source="what --calibration names")
    assert named.notes[0].startswith("what --calibration names calibrates, 5 other")
    whole = roles_of_dataset(validation, validation.paths, 2)
    assert "which has no part of its own for that, calibrate, 4 other pictures steer" in whole.notes[0]
    used = [*whole.calibration, *whole.steer.paths, *whole.judge.paths]
    assert len(used) == len(set(used)) == 10
    assert len(whole.calibration) == 2
    with pytest.raises(InputError, match="others that judge"):
        roles_of_dataset(validation, validation.paths, 64)


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
