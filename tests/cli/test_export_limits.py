"""`yolo-edge export` with a limit of accuracy, `--precision auto`, int8-weights and int8x16."""

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
from yolo_edge.export import automatic, job
from yolo_edge.export.quantization import choose, judge
from yolo_edge.export.quantization.front import json_schema, read_front
from yolo_edge.export.quantization.ranking import Ranker
from yolo_edge.export.quantization.recipe import RECIPES
from yolo_edge.export.tflite.delegation import Delegation


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return depthwise_darknet(tmp_path_factory.mktemp("int8"), 5, "leaky", spread=0.2, loud=0.1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(20):
        cv2.imwrite(str(folder / f"{number}.png"), random_picture(90, 70, number))
    return folder


@pytest.fixture(scope="module")
def labelled(cfg: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.yaml whose labels are what the float model itself finds."""
    from yolo_edge.export import canonicalize, write_onnx
    from yolo_edge.export.load import load_model

    source = load_model(cfg)
    detector = Detector(write_onnx(canonicalize(source.graph), source.spec), confidence=0.1)
    folder = tmp_path_factory.mktemp("labelled")
    for part, numbers in (("train", range(8)), ("val", range(8, 20))):
        for name in ("images", "labels"):
            (folder / name / part).mkdir(parents=True)
        for number in numbers:
            image = cv2.imread(str(pictures / f"{number}.png"))
            cv2.imwrite(str(folder / "images" / part / f"{number}.png"), image)
            found = detector(image)
            lines = []
            for (x1, y1, x2, y2), class_id in zip(found.xyxy.tolist(), found.class_id.tolist(), strict=True):
                if min(x2 - x1, y2 - y1) > 1:
                    box = (x1 + x2) / 180, (y1 + y2) / 140, (x2 - x1) / 90, (y2 - y1) / 70
                    lines.append(" ".join([str(class_id), *(f"{side:.6f}" for side in box)]))
            (folder / "labels" / part / f"{number}.txt").write_text("\n".join(lines) + "\n")
    names = json.dumps(list(source.spec.names))
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    return folder / "data.yaml"


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    """Timing, and all recipes, are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "speed_ratio", lambda *_: 1.25)
        patch.setattr(judge, "RESAMPLES", 50)  # of networks that find boxes everywhere
        patch.setattr(choose.quantize, "__kwdefaults__", {**choose.quantize.__kwdefaults__, "recipes": RECIPES[:1]})
        yield


def test_agreement(run: Run, cfg: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jsonschema

    arguments = ["--precision", "int8", "--calibration", pictures, "--min-agreement", 0.8, "--cache", tmp_path / "c"]
    result = run("export", cfg, *arguments, "-o", tmp_path / "a", "--json")
    assert result.code == 0, result.err
    assert "10 pictures calibrate, 5 other pictures steer, 5 others judge" in result.err
    assert "on 5 other pictures, which judge" in result.err
    assert "alone in int8 these layers do most harm" in result.err
    (kept,) = (tmp_path / "a").glob("*.front.json")
    jsonschema.validate(json.loads(kept.read_text()), json_schema())
    front = read_front(kept)
    assert front is not None
    assert front.chosen is not None
    assert len(front.points) >= 5
    assert result.json[0]["fused"] <= front.points[front.chosen].int8
    # another point, and the same one again
    last = front.points[-2].number
    other = run("export", cfg, "--precision", "int8", "--plan", kept, "--point", last, "-o", tmp_path / "b", "--json")
    assert other.code == 0, other.err
    again = run("export", cfg, "--precision", "int8", "--plan", kept, "-o", tmp_path / "c2", "--json")
    assert again.code == 0, again.err
    assert other.json[0]["snr_db"][0] > again.json[0]["snr_db"][0]
    name = f"{cfg.stem}-64-int8.onnx"
    assert (tmp_path / "c2" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    # what was measured is not measured again
    monkeypatch.setattr(Ranker, "_measure", lambda *_: pytest.fail("ranked twice"))
    monkeypatch.setattr(choose, "Calibration", lambda *_: pytest.fail("calibrated twice"))
    resumed = run("export", cfg, *arguments, "-o", tmp_path / "d")
    assert resumed.code == 0, resumed.err
    assert (tmp_path / "d" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert (tmp_path / "d" / kept.name).read_bytes() == kept.read_bytes()


def test_drop(run: Run, cfg: Path, labelled: Path, tmp_path: Path) -> None:
    arguments = ["--precision", "int8", "--data", labelled, "--cache", tmp_path / "c", "-o", tmp_path / "out"]
    result = run("export", cfg, *arguments, "--max-drop", 30)
    assert result.code == 0, result.err
    assert "the training part calibrates, 6 other pictures steer, 6 others judge" in result.err
    assert "points of mAP50 [" in result.err


def test_not_reachable(run: Run, cfg: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_edge.export.quantization.control import Limit

    monkeypatch.setattr(Limit, "holds", lambda *_: False)
    arguments = ["--precision", "int8", "--calibration", pictures, "--min-agreement", 1, "--cache", tmp_path / "c"]
    result = run("export", cfg, *arguments, "-o", tmp_path / "out", "--json")
    assert result.code == 1
    assert result.out == ""
    assert "min-agreement 1 is not reachable with int8; the best, point" in result.err
    assert "alone in int8 these layers do most harm" in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{cfg.stem}-64-int8.front.json"]
    kept = tmp_path / "out" / f"{cfg.stem}-64-int8.front.json"
    said = run("export", cfg, "--precision", "int8", "--plan", kept, "-o", tmp_path / "b")
    assert said.code == 2
    assert "none of its points holds its limit, --point N takes one of 0.." in said.err
    for change, message in ({"points": []}, "not a front"), ({"chosen": 77}, "and its chosen point is 77"):
        damaged = tmp_path / "damaged.front.json"
        damaged.write_text(json.dumps(json.loads(kept.read_text()) | change))
        said = run("export", cfg, "--precision", "int8", "--plan", damaged, "-o", tmp_path / "b")
        assert said.code == 2
        assert message in said.err


@pytest.mark.parametrize(("faster", "expected"), [(1.5, "int8"), (0.5, "fp16")])
def test_auto(
    run: Run, cfg: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: float, expected: str
) -> None:
    def ratio(baseline: bytes, candidate: bytes, *_: object) -> float:
        return faster if b"QuantizeLinear" in candidate else 1.0

    monkeypatch.setattr(job, "speed_ratio", ratio)
    arguments = ["--precision", "auto", "--calibration", pictures, "--min-agreement", 0.5, "--cache", tmp_path / "c"]
    result = run("export", cfg, *arguments, "-o", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    assert [item["precision"] for item in result.json] == [expected]
    assert f"onnx: {expected}" in result.err
    assert "fp32 1.00, fp16 1.00, int8" in result.err


def test_the_smallest_of_the_fastest() -> None:
    def candidate(name: str, time: float, size: int) -> automatic.Candidate:
        return automatic.Candidate(name, name, None, time, size)

    found = [candidate("fp32", 1.0, 100), candidate("fp16", 0.99, 50), candidate("int8", 1.3, 25)]
    assert automatic.pick(found).name == "fp16"
    assert automatic.pick([*found, candidate("mixed", 0.9, 60)]).name == "mixed"


def test_weights_and_wide(run: Run, cfg: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = ["--precision", "fp32,int8-weights,int8x16", "--calibration", pictures, "--format", "tflite"]
    result = run("export", cfg, *arguments, "-o", tmp_path, "--json")
    assert result.code == 0, result.err
    snr = {item["precision"]: min(item["snr_db"]) for item in result.json}
    assert snr["int8-weights"] > 25
    # what 16 bits cost is little beside the rounding of weights
    assert snr["int8x16"] > snr["int8-weights"] - 4
    assert (tmp_path / f"{cfg.stem}-64-int8x16.plan.json").exists()
    wide = Delegation.of(tmp_path / f"{cfg.stem}-64-int8x16.tflite")
    assert not any(op.delegated for op in wide.operators if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D"))
    weights = Delegation.of(tmp_path / f"{cfg.stem}-64-int8-weights.tflite")
    assert weights.partitions == 1
    assert not weights.left_out
    onnx = run("export", cfg, "--precision", "fp32,int8-weights", "-o", tmp_path, "--json")
    assert onnx.code == 0, onnx.err
    found = [Detector(path)(random_picture(90, 70)) for path in sorted(tmp_path.glob("*weights.*"))]
    assert np.abs(found[0].confidence - found[1].confidence).max(initial=0) < 1e-3


def test_what_is_refused(refuse: Callable[..., str], cfg: Path, pictures: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "out"]
    int8 = ["export", cfg, "--precision", "int8", *out]
    assert "needs labels" in refuse(*int8, "--calibration", pictures, "--max-drop", 1)
    assert "one of both" in refuse(*int8, "--calibration", pictures, "--max-drop", 1, "--min-agreement", 0.9)
    assert "expected 0..1, got 97" in refuse(*int8, "--calibration", pictures, "--min-agreement", 97)
    assert "needs pictures" in refuse(*int8, "--min-agreement", 0.9)
    assert "--data goes with" in refuse(*int8, "--calibration", pictures, "--data", pictures)
    assert "go with --precision int8 or auto" in refuse(
        "export", cfg, "--calibration", pictures, "--min-agreement", 0.9, *out
    )
    assert "--point goes with" in refuse(*int8, "--calibration", pictures, "--point", 1)
    assert "precision auto needs a limit" in refuse(
        "export", cfg, "--precision", "auto", "--calibration", pictures, *out
    )
    assert "precision 'auto'" in refuse("export", cfg, "--precision", "auto,fp32", *out)
    assert "use --format tflite" in refuse("export", cfg, "--precision", "int8x16", "--calibration", pictures, *out)
    few = tmp_path / "few"
    few.mkdir()
    for number in range(6):
        cv2.imwrite(str(few / f"{number}.png"), random_picture(30, 30, number))
    assert "others that judge" in refuse(*int8, "--calibration", few, "--min-agreement", 0.9)
    assert not (tmp_path / "out").exists()
