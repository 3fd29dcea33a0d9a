import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.datasets.support import write_coco, write_voc, write_yolo_folder
from yolo_edge.anchors import score
from yolo_edge.export.load import load_model


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A COCO file with a few hundred boxes and no pictures."""
    import json

    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(3.5, 0.8, (400, 2)))
    document = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(50)],
        "annotations": [
            {"image_id": i % 50, "category_id": 1, "bbox": [1, 2, *size], "iscrowd": int(i == 7)}
            for i, size in enumerate(sizes.tolist())
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    document["annotations"][9]["bbox"] = [5, 5, 0, 10]  # type: ignore[index]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path


def test_json(run: Run, coco: Path) -> None:
    result = run("anchors", coco, "-k", 5, "--size", "320x240", "--json")
    assert result.code == 0, result.err
    found = result.json
    assert {"anchors", "avg_iou", "bpr", "boxes", "seconds"} <= set(found)
    assert found["boxes"] == 398
    assert found["left_out"] == {"crowd": 1, "difficult": 0, "zero_size": 1}
    assert "boxes left out: 1 crowds, 1 of no size" in result.err
    anchors = np.array(found["anchors"])
    assert anchors.shape == (5, 2)
    assert (np.diff(anchors.prod(axis=1)) > 0).all()
    assert 0 < found["avg_iou"] < 1
    assert sum(found["share"]) == pytest.approx(1)
    assert found["masks"] == [{"stride": 32, "mask": [0, 1, 2, 3, 4]}]
    assert found["resize"] == "stretch"
    assert found["current"] is found["verdict"] is None
    assert run("anchors", coco, "-k", 5, "--size", "320x240", "--json").json["anchors"] == found["anchors"]
    doubled = run("anchors", coco, "-k", 5, "--size", "640x480", "--json").json
    np.testing.assert_allclose(np.array(doubled["anchors"]), anchors * 2, rtol=1e-4)


def test_table_and_fragments(run: Run, coco: Path) -> None:
    result = run("anchors", coco, "-k", 6, "--strides", "16,32", "--update", "mean")
    assert result.code == 0, result.err
    assert "398 boxes, stretch to 416x416, mean update" in result.out
    assert "stride 16: mask = 0,1,2" in result.out
    assert "stride 32: mask = 3,4,5" in result.out
    assert result.out.count("filters = 18") == 2
    assert "[region]" not in result.out
    result = run("anchors", coco, "-k", 5, "--resize", "none")
    assert "in pixels of the pictures" in result.out
    pixels, cells = re.findall(r"anchors = (.*)", result.out)
    ratio = [float(a) / float(b) for a, b in zip(pixels.split(","), cells.split(","), strict=True)]
    assert ratio == pytest.approx([32] * 10, rel=1e-2)


def test_compare_with_a_cfg_and_write_one(run: Run, coco: Path, cfg: Path, tmp_path: Path) -> None:
    spec = load_model(cfg).spec
    target = tmp_path / "new" / "other.cfg"
    k = 2 * len(spec.heads)
    result = run("anchors", coco, "-k", k, "--cfg", cfg, "--write-cfg", target, "--json")
    assert result.code == 0, result.err
    found = result.json
    assert found["size"] == [spec.input.width, spec.input.height]
    own = np.array(list(dict.fromkeys(anchor for head in spec.heads for anchor in head.anchors)))
    assert found["current"]["anchors"] == own.tolist()
    assert 0 < found["current"]["avg_iou"] < found["avg_iou"]
    assert "better than the anchors of" in found["verdict"]
    assert "train again" in result.err
    written = load_model(target, shapes_only=True).spec
    assert [head.stride for head in written.heads] == [mask["stride"] for mask in found["masks"]]
    for head, mask in zip(written.heads, found["masks"], strict=True):
        expected = [found["anchors"][i] for i in mask["mask"]]
        np.testing.assert_allclose(head.anchors, expected, atol=0.01, rtol=1e-3)
    # from its own anchors there is nothing to gain
    again = run("anchors", coco, "-k", k, "--cfg", target, "--json").json
    assert "no better than the anchors of other.cfg" in again["verdict"]
    assert "keep those" in run("anchors", coco, "-k", k, "--cfg", target).out


def test_compare_with_an_exported_file(run: Run, coco: Path, onnx_file: Path, cfg: Path) -> None:
    from_onnx, from_cfg = (run("anchors", coco, "--cfg", path, "--json").json["current"] for path in (onnx_file, cfg))
    assert from_onnx == from_cfg


def test_sweep_and_plot(run: Run, coco: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plots" / "a.svg"
    result = run("anchors", coco, "-k", 4, "--sweep", "2..6", "--plot", plot, "--json")
    assert result.code == 0, result.err
    swept = result.json["sweep"]
    assert [entry["k"] for entry in swept] == [2, 3, 4, 5, 6]
    assert swept[2]["avg_iou"] == result.json["avg_iou"]
    assert all(b["avg_iou"] > a["avg_iou"] for a, b in pairwise(swept))
    root = ET.fromstring(plot.read_text())  # noqa: S314 - our own file
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for width, height in result.json["anchors"]:
        assert f"{width:.0f}x{height:.0f}" in texts
    assert "average IoU against k (red: k = 4)" in texts
    assert "k" in run("anchors", coco, "-k", 4, "--sweep", "1..2").out


def test_difficult_and_splits(run: Run, tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc")
    result = run("anchors", folder, "-k", 1, "--json")
    assert result.json["boxes"] == 2  # trainval
    assert "1 difficult ones (--difficult counts them)" in result.err
    assert run("anchors", folder, "-k", 1, "--difficult", "--json").json["boxes"] == 3
    assert run("anchors", folder, "-k", 1, "--split", "train", "--json").json["boxes"] == 2


def test_letterbox_differs_from_stretch(run: Run, tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    stretch, letterbox = (
        run("anchors", path, "-k", 3, "--resize", way, "--size", "64", "--json").json
        for way in ("stretch", "letterbox")
    )
    assert stretch["avg_iou"] == letterbox["avg_iou"] == pytest.approx(1)
    assert stretch["anchors"] != letterbox["anchors"]
    assert score(np.array(letterbox["anchors"]), np.array(stretch["anchors"])).avg_iou < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-k", "0"], "expected k of 1..1000"),
        (["-k", "399"], "k = 399: there are 398 distinct boxes among 398; choose a smaller k"),
        (["--update", "mode"], "--update 'mode': expected median or mean"),
        (["--resize", "crop"], "--resize 'crop': expected stretch, letterbox, none"),
        (["--size", "0"], "--size '0': expected one size"),
        (["--size", "320,416"], "--size '320,416': expected one size"),
        (["--sweep", "5..1"], "--sweep '5..1': expected FROM..TO"),
        (["--sweep", "1..999"], "--sweep 1..999: k = 999: there are 398 distinct boxes"),
        (["--strides", "32,x"], "--strides '32,x': expected strides such as 32,16,8"),
        (["--strides", "0"], "--strides '0': expected strides"),
        (["--strides", "32,00"], "--strides '32,00': expected strides"),
        (["--resize", "none", "--cfg", "a.cfg"], "--resize none: goes without --cfg, whose anchors are in pixels of"),
        (["-k", "2", "--strides", "32,16,8"], "k = 2: there are 3 heads"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--starts", "0"], "1..1000 starts"),
        (["--starts", "99999999999"], "1..1000 starts"),
        (["--plot", "a.png"], "--plot a.png: expected a .svg file"),
        (["--write-cfg", "a.cfg"], "--write-cfg: needs --cfg"),
        (["--cfg", "nowhere.cfg"], "nowhere.cfg: no such file"),
        (["--split", "val"], "--split val: "),
    ],
)
def test_refused(refuse: Callable[..., str], coco: Path, options: list[str], message: str) -> None:
    assert message in refuse("anchors", coco, *options)


def test_a_cfg_gets_no_anchors_of_another_size(
    refuse: Callable[..., str], coco: Path, cfg: Path, tmp_path: Path
) -> None:
    target = tmp_path / "other.cfg"
    message = refuse("anchors", coco, "--cfg", cfg, "--size", "64x32", "--write-cfg", target)
    assert f"--size 64x32: {target} would get anchors for it, and keep the " in message
    assert not target.exists()


def test_the_cfg_itself_is_not_overwritten(refuse: Callable[..., str], coco: Path, cfg: Path) -> None:
    assert "expected another .cfg file" in refuse("anchors", coco, "--cfg", cfg, "--write-cfg", cfg)


def test_bad_labels(run: Run, refuse: Callable[..., str], tmp_path: Path) -> None:
    folder = write_yolo_folder(tmp_path)
    (folder / "b.txt").write_text("0 1 2 nan 4")
    assert "b.txt:1: " in refuse("anchors", folder, "-k", 1)
    result = run("anchors", folder, "-k", 1, "--skip-bad", "--json")
    assert result.json["boxes"] == 2
    assert result.json["skipped"] == 1
    assert "skipped: " in result.err
    (folder / "a.txt").write_text("")
    assert "no boxes to cluster" in refuse("anchors", folder, "-k", 1, "--skip-bad")
