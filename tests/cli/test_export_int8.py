"""`yolo-edge export --precision int8`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.export.quantization.support import depthwise_darknet
from tests.support import random_picture
from yolo_edge import Detector
from yolo_edge.export import exporter, job
from yolo_edge.export.job import front_name, plan_name, size_in_name
from yolo_edge.export.quantization import choose
from yolo_edge.export.quantization.plan import read_plan
from yolo_edge.export.quantization.recipe import RECIPES
from yolo_edge.ondevice.runtimes.onnx import new_session

FORMATS = ["--format", "onnx,tflite", "--precision", "int8"]


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return depthwise_darknet(tmp_path_factory.mktemp("int8"), 5, "leaky", spread=0.2, loud=0.1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration")
    for number in range(16):
        cv2.imwrite(str(folder / f"{number}.png"), random_picture(90, 70, number))
    return folder


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    """Timing, and all recipes, are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "speed_ratio", lambda *_: 1.25)
        patch.setattr(choose.quantize, "__kwdefaults__", {**choose.quantize.__kwdefaults__, "recipes": RECIPES[3::2]})
        yield


@pytest.fixture(scope="module")
def made(cfg: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole export; its files by name are what others are compared with."""
    from yolo_edge.cli import main

    folder = tmp_path_factory.mktemp("made")
    assert main(["export", str(cfg), *FORMATS, "--calibration", str(pictures), "-o", str(folder), "--json"]) == 0
    return folder


def names_of(cfg: Path) -> list[str]:
    return [f"{cfg.stem}-64-int8{suffix}" for suffix in (".onnx", ".tflite")]


def test_without_pictures(refuse: Callable[..., str], cfg: Path, tmp_path: Path) -> None:
    said = refuse("export", cfg, "--precision", "fp32,int8", "-o", tmp_path / "out")
    assert "--calibration DIR" in said
    assert "--plan FILE" in said
    assert not (tmp_path / "out").exists()


def test_files_and_json(run: Run, cfg: Path, pictures: Path, made: Path, tmp_path: Path) -> None:
    result = run("export", cfg, *FORMATS, "--calibration", pictures, "-o", tmp_path, "--json")
    assert result.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names_of(cfg), f"{cfg.stem}-64-int8.plan.json"])
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (made / path.name).read_bytes(), "not the same bytes twice"
    assert [item["format"] for item in result.json] == ["onnx", "tflite"]
    plan = read_plan(tmp_path / f"{cfg.stem}-64-int8.plan.json")
    float_by_plan = sum(node.precision == "float" and name.startswith("conv") for name, node in plan.nodes.items())
    for item, dtype in zip(result.json, ("float32", "int8"), strict=True):
        assert (item["precision"], item["input"], item["verified"]) == ("int8", dtype, True)
        assert item["speed_vs_fp32"] == 1.25
        assert item["convolutions"] == 11
        assert item["fused"] >= 11 - float_by_plan - 2
        assert 0.5 < item["agreement"] <= 1
        assert min(item["snr_db"]) > 15
    assert "was chosen by agreement on 4 pictures held back" in result.err
    assert any(recipe.name in result.err for recipe in RECIPES)


@pytest.mark.parametrize("precise", [True, False])
def test_onnxruntime_loads_them(cfg: Path, made: Path, precise: bool) -> None:
    session = new_session((made / names_of(cfg)[0]).read_bytes(), precise=precise)
    (output,) = session.run(None, {"images": np.zeros((1, 3, 64, 64), np.float32)})
    assert np.isfinite(output).all()


def test_a_plan_gives_the_same_bytes(run: Run, cfg: Path, made: Path, tmp_path: Path) -> None:
    kept = made / f"{cfg.stem}-64-int8.plan.json"
    result = run("export", cfg, *FORMATS, "--plan", kept, "-o", tmp_path)
    assert result.code == 0
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (made / path.name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_plan_of_another_size_is_used_and_said_to_be(run: Run, cfg: Path, made: Path, tmp_path: Path) -> None:
    kept = made / f"{cfg.stem}-64-int8.plan.json"
    result = run("export", cfg, "--precision", "int8", "--plan", kept, "--size", "96x64", "-o", tmp_path, "--json")
    assert result.code == 0, result.err
    assert f"note: {kept} was made at 64x64, as its name says, and is used at 96x64" in result.err
    again = tmp_path / "plain.json"  # a name that says nothing
    again.write_bytes(kept.read_bytes())
    assert "was made at" not in run("export", cfg, "--precision", "int8", "--plan", again, "-o", tmp_path).err


def test_the_size_in_the_name_of_a_plan() -> None:
    for size in ((320, 320), (352, 288)):
        assert size_in_name(Path("out") / plan_name("a-64-int8", size)) == size
        assert size_in_name(Path("out") / plan_name("a", size, "int8x16")) == size
        assert size_in_name(Path("out") / front_name("a", size)) == size
    for name in ("plan.json", "a-int8.plan.json", "a-320-int8.onnx", "a-320-fp32.plan.json"):
        assert size_in_name(Path(name)) is None


def test_plans_that_do_not_fit(refuse: Callable[..., str], cfg: Path, made: Path, tmp_path: Path) -> None:
    kept = made / f"{cfg.stem}-64-int8.plan.json"
    out = tmp_path / "out"
    document = json.loads(kept.read_text())
    document["tensors"]["ghost"] = {"scale": 1, "zero_point": 0}
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(document))
    assert "edited.json.tensors: the network has no tensor 'ghost'" in refuse(
        "export", cfg, *FORMATS, "--plan", edited, "-o", out
    )
    edited.write_text("{")
    assert "edited.json: not a quantization plan" in refuse("export", cfg, *FORMATS, "--plan", edited, "-o", out)
    missing = tmp_path / "missing.json"
    assert "missing.json" in refuse("export", cfg, *FORMATS, "--plan", missing, "-o", out)
    other = depthwise_darknet(tmp_path, 0, "swish", spread=0.2)
    assert "plan.json" in refuse("export", other, *FORMATS, "--plan", kept, "-o", out)
    document = json.loads(kept.read_text())
    next(iter(document["convolutions"].values()))["weight_scale"] = [1.0]
    edited.write_text(json.dumps(document))
    assert "got 1; is it the plan of another" in refuse("export", cfg, *FORMATS, "--plan", edited, "-o", out)
    assert "is for one size" in refuse("export", cfg, *FORMATS, "--plan", kept, "--size", "64,96", "-o", out)
    assert "--plan goes with --precision int8" in refuse("export", cfg, "--plan", kept, "-o", out)
    assert not out.exists() or not list(out.iterdir())


def test_options_that_are_wrong(refuse: Callable[..., str], cfg: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = ["export", cfg, "--precision", "int8", "--calibration", pictures, "-o", tmp_path]
    assert "range 'all': there is minmax" in refuse(*arguments, "--range", "all")
    assert "calibration-images: expected 2 or more, got 1" in refuse(*arguments, "--calibration-images", "1")
    assert "int8 outputs are for head 'raw'" in refuse(*arguments, "--head", "nms", "--output-type", "int8")
    assert "go with --precision int8" in refuse("export", cfg, "--input", "int8", "-o", tmp_path)
    wide = ["export", cfg, "--precision", "int8x16", "--format", "tflite", "--calibration", pictures, "-o", tmp_path]
    for option in ("--input", "--output-type"):  # its inputs and outputs are float32
        assert "int8 inputs and outputs go with --precision int8" in refuse(*wide, option, "int8")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in refuse(*arguments[:4], "--calibration", empty, "-o", tmp_path)


@pytest.mark.parametrize("mode", ["minmax", "percentile", "mse"])
def test_ranges(
    run: Run, cfg: Path, pictures: Path, made: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose.quantize, "__kwdefaults__", {**choose.quantize.__kwdefaults__, "recipes": RECIPES[:1]})
    arguments = ["--calibration-images", 8, "--range", mode, "--seed", 1]
    result = run("export", cfg, "--precision", "int8", "--calibration", pictures, *arguments, "-o", tmp_path, "--json")
    assert result.code == 0
    assert min(result.json[0]["snr_db"]) > 15
    assert "calibrated with 8 pictures only" in result.err
    (kept,) = tmp_path.glob("*.plan.json")
    assert read_plan(kept) != read_plan(made / kept.name)


def test_every_end_detects_alike(run: Run, cfg: Path, made: Path, tmp_path: Path) -> None:
    kept = made / f"{cfg.stem}-64-int8.plan.json"
    wanted = {
        suffix: Detector(made / name, confidence=0.3)
        for suffix, name in zip(("onnx", "tflite"), names_of(cfg), strict=True)
    }
    for image in ("float32", "uint8", "int8"):
        for output in ("float32", "int8"):
            folder = tmp_path / f"{image}-{output}"
            ends = ["--input", image, "--output-type", output]
            result = run("export", cfg, *FORMATS, "--plan", kept, *ends, "-o", folder, "--json")
            assert result.code == 0, result.err
            for item in result.json:
                detector = Detector(item["path"], confidence=0.3)
                assert item["input"] == detector.runtime.input_dtype == image
                assert set(detector.runtime.output_dtypes.values()) == {output}
                for seed in range(3):
                    alike(detector, wanted[item["format"]], seed)


@pytest.mark.parametrize("head", ["decoded", "nms"])
def test_decoders_in_the_file(run: Run, cfg: Path, made: Path, tmp_path: Path, head: str) -> None:
    kept = made / f"{cfg.stem}-64-int8.plan.json"
    result = run("export", cfg, *FORMATS, "--plan", kept, "--head", head, "-o", tmp_path, "--json")
    assert result.code == 0, result.err
    for item, name in zip(result.json, names_of(cfg), strict=True):
        assert item["head"] == head
        for seed in range(3):
            alike(Detector(item["path"], confidence=0.3), Detector(made / name, confidence=0.3), seed, pixels=0.1)


def alike(one: Detector, other: Detector, seed: int, pixels: float = 0.01) -> None:
    picture = random_picture(90, 70, 100 + seed)
    found, wanted = one(picture), other(picture)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-3)
    # equal confidences, of which integers have many, stand in any order
    apart = np.abs(found.xyxy[:, None] - wanted.xyxy[None]).max(axis=2)
    assert max(apart.min(axis=0).max(), apart.min(axis=1).max()) <= pixels


@pytest.mark.parametrize("where", ["calibrating", "writing"])
def test_an_interrupted_export_leaves_nothing(
    run: Run, cfg: Path, pictures: Path, made: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if where == "calibrating":
        monkeypatch.setattr(choose, "finish", interrupt)
        arguments: list[object] = ["--calibration", pictures]
    else:
        monkeypatch.setattr(exporter, "write_atomically", interrupt)
        arguments = ["--plan", made / f"{cfg.stem}-64-int8.plan.json"]
    result = run("export", cfg, *FORMATS, *arguments, "-o", tmp_path / "out")
    assert result.code not in (0, 2)
    assert "Traceback" not in result.err
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_file_that_is_far_from_its_source_is_not_written(run: Run, cfg: Path, made: Path, tmp_path: Path) -> None:
    document = json.loads((made / f"{cfg.stem}-64-int8.plan.json").read_text())
    for tensor in document["tensors"].values():
        tensor["scale"] *= 1 if tensor == document["tensors"]["images"] else 0.02
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(document))
    result = run("export", cfg, *FORMATS, "--plan", edited, "-o", tmp_path / "out")
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
