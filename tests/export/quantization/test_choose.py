"""Which pictures are taken, and which recipe."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.export.quantization.support import PLAIN, depthwise_darknet
from tests.support import random_picture
from yolo_edge import InputError
from yolo_edge.export import canonicalize
from yolo_edge.export.graph import Graph
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization import choose
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.choose import Trial, _best, quantize
from yolo_edge.export.quantization.pictures import LEAST, Pictures, stream
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.recipe import RECIPES, UNSEEN, Recipe
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.spec import ModelSpec


def write_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), random_picture(70, 50, number))
    return paths


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "in", 24)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceModel:
    return load_model(depthwise_darknet(tmp_path_factory.mktemp("choose"), 2))


def test_the_draw(paths: list[Path]) -> None:
    found = Pictures.choose(paths, 20, 0)
    assert found == Pictures.choose(paths, 20, 0)
    assert found != Pictures.choose(paths, 20, 1)
    assert len(found.held_back) == 5
    assert len(found.calibration) == 15
    assert len({*found.held_back, *found.calibration}) == 20
    assert found.notes == ()
    assert len(Pictures.choose(paths).calibration) == 18  # all of them are not 64


def test_copies_and_unreadable_files_are_left_out(paths: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    copies = [tmp_path / f"copy-{i}.png" for i in range(3)]
    for copy in copies:
        copy.write_bytes(paths[0].read_bytes())
    for seed in range(3):
        found = Pictures.choose([*paths, bad, *copies, tmp_path / "missing.png"], seed=seed)
        taken = {*found.held_back, *found.calibration}
        assert len(taken) == 24
        assert len(taken & {paths[0], *copies}) == 1
        assert bad not in taken
        assert any("2 pictures cannot be read and were left out, such as" in note for note in found.notes)
        assert any("3 pictures are copies of others" in note for note in found.notes)


def test_few_pictures_are_said(paths: list[Path]) -> None:
    found = Pictures.choose(paths[: LEAST - 1])
    assert any(f"calibrated with {LEAST - 1} pictures only: {LEAST} or more" in note for note in found.notes)
    assert Pictures.choose(paths[:LEAST]).notes == ()
    least = Pictures.choose(paths[:2])
    assert (len(least.calibration), len(least.held_back)) == (1, 1)


def test_less_than_two_are_refused(paths: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    for few, message in (([], "got 0"), (paths[:1], "got 1"), ([paths[0], bad], r"got 1 \(.*bad.png")):
        with pytest.raises(InputError, match=f"calibration needs pictures that differ, 16 or more; {message}"):
            Pictures.choose(few)
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    with pytest.raises(InputError, match="pictures that differ"):
        Pictures.choose([paths[0], copy])


def test_streams_are_what_the_model_sees(paths: list[Path], source: SourceModel) -> None:
    from yolo_edge.ondevice.images import read_image
    from yolo_edge.ondevice.preprocess import Preprocessor

    found = list(stream(paths[:3], source.spec.input))
    for path, tensor in zip(paths, found, strict=False):
        np.testing.assert_array_equal(tensor, Preprocessor(source.spec.input)(read_image(path))[0])


def trial(agreement: float | None, int8: int = 10, snr_db: float = 20, recipe: str = "") -> Trial:
    return Trial(recipe, agreement, snr_db, int8, QuantizationPlan())


@pytest.mark.parametrize(
    ("trials", "gained", "best"),
    [
        ([trial(0.7), trial(0.8), trial(0.75)], None, 1),
        ([trial(0.8), trial(0.8)], None, 0),
        ([trial(0.8), trial(0.8, 8)], None, 0),
        ([trial(0.8), trial(0.9, 8), trial(0.79)], 0.049, 0),
        ([trial(0.8), trial(0.9, 8), trial(0.91, 8)], 0.051, 2),
        ([trial(0.8), trial(0.9, 8)], -0.1, 0),
        ([trial(None), trial(None), trial(None, 8)], None, 0),
        ([trial(None, 8), trial(None)], None, 1),
        ([trial(0.0), trial(0.1)], None, 1),
        ([trial(0.7), trial(0.9, snr_db=14.9)], None, 0),
        ([trial(0.7, snr_db=12), trial(0.9, snr_db=14.9)], None, 1),
        ([trial(0.9, snr_db=14.9), trial(0.7, 8)], None, 1),
        ([trial(None), trial(None, recipe=UNSEEN)], None, 1),
    ],
)
def test_the_best(trials: list[Trial], gained: float | None, best: int) -> None:
    asked: list[tuple[int, int]] = []

    def gain(full: int, fewer: int) -> float:
        asked.append((full, fewer))
        assert gained is not None
        return gained

    found, notes = _best(trials, gain)
    assert found == best
    assert len(asked) == len(notes) == (gained is not None)
    assert all("2 convolutions in float" in note for note in notes)


def test_every_recipe_is_tried(paths: list[Path], source: SourceModel) -> None:
    graph, pictures = canonicalize(source.graph), Pictures.choose(paths[:12])
    said: list[str] = []
    made = quantize(graph, source.spec, pictures, progress=said.append)
    names = [found.recipe for found in made.trials]
    assert names == [recipe.name for recipe in RECIPES]
    assert said[: 1 + len(names)] == ["calibrating with 9 pictures", *(f"trying {name}" for name in names)]
    assert all(0 <= (found.agreement or 0) <= 1 for found in made.trials)
    (chosen,) = (found for found in made.trials if found.plan == made.network.plan)
    assert any(f"{chosen.recipe!r} was chosen by agreement on 3 pictures held back" in note for note in made.notes)
    convolutions = sum(node.op_type == "Conv" for node in graph.graph)
    assert {found.int8 for found in made.trials} == {convolutions, convolutions - 2}


def test_floats_are_weighed_on_all_pictures(
    paths: list[Path], source: SourceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: list[int] = []

    class Judge(choose.StreamJudge):
        def __init__(self, graph: Graph, spec: ModelSpec, paths: Sequence[Path]):
            weighed.append(len(paths))
            super().__init__(graph, spec, paths)

        def likeness(self, model: Graph) -> float | None:
            alike = super().likeness(model)
            assert alike is not None
            assert 0 <= alike <= 1
            weighed.append(int(alike * 1000))
            return len(weighed) * worth

    recipes = [PLAIN, Recipe("float first", rescale=False, equalize=False, ranges="minmax", float_first=2)]
    monkeypatch.setattr(choose, "StreamJudge", Judge)
    monkeypatch.setattr(
        choose._Judge, "judge", lambda self, network: (0.5 + 0.1 * ("float" in network.plan.recipe), 30)
    )
    for worth, name in ((0.049, "plain"), (0.051, "float first")):
        weighed.clear()
        made = quantize(canonicalize(source.graph), source.spec, Pictures.choose(paths[:12]), recipes=recipes)
        assert made.network.plan.recipe == name
        assert weighed[0] == 12
        assert f"gains {worth:+.3f} over 'plain' on all pictures" in made.notes[-1]


def test_a_recipe_that_changes_nothing_is_not_tried_twice(paths: list[Path], source: SourceModel) -> None:
    recipes = [PLAIN, Recipe("the same", rescale=False, equalize=False, ranges="minmax")]
    made = quantize(canonicalize(source.graph), source.spec, Pictures.choose(paths[:4]), recipes=recipes)
    assert [found.recipe for found in made.trials] == ["plain"]


def test_recipes_that_were_tried_are_kept(
    paths: list[Path], source: SourceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, pictures, recipes = canonicalize(source.graph), Pictures.choose(paths[:4]), RECIPES[:3]
    finish, finished = choose.finish, []

    def end_at_the_second(expanded: Graph, plan: QuantizationPlan, recipe: Recipe, *rest: Any) -> QuantizationPlan:
        finished.append(recipe.name)
        if len(finished) == 2:
            raise KeyboardInterrupt
        return finish(expanded, plan, recipe, *rest)

    monkeypatch.setattr(choose, "finish", end_at_the_second)
    with closing(Cache(tmp_path, [b"a"])) as kept, pytest.raises(KeyboardInterrupt):
        quantize(graph, source.spec, pictures, recipes=recipes, kept=kept)
    with closing(Cache(tmp_path, [b"a"])) as kept:
        made = quantize(graph, source.spec, pictures, recipes=recipes, kept=kept)
    assert finished == [recipe.name for recipe in (recipes[0], recipes[1], recipes[1], recipes[2])]
    monkeypatch.setattr(choose, "finish", finish)
    whole = quantize(graph, source.spec, pictures, recipes=recipes)
    assert made.trials == whole.trials
    assert made.network.plan == whole.network.plan
    assert made.notes == whole.notes


def test_where_nothing_is_found(tmp_path: Path, paths: list[Path]) -> None:
    cfg = depthwise_darknet(tmp_path, 2)
    weights = np.fromfile(cfg.with_suffix(".weights"), "<f4")
    # the biases of the last convolution: before its 10 x 16 weights
    weights[-10 * 16 - 16 : -10 * 16] = -1000
    weights.tofile(cfg.with_suffix(".weights"))
    quiet = load_model(cfg)
    made = quantize(canonicalize(quiet.graph), quiet.spec, Pictures.choose(paths[:4]), recipes=RECIPES[:2])
    assert [found.agreement for found in made.trials] == [None, None]
    assert "finds nothing on the pictures held back" in made.notes[-1]
    assert made.network.plan == made.trials[0].plan
