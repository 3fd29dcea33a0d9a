"""Every cfg of both darknets: built, and equal to what OpenCV makes of it; or refused, with the reason."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support import RandomWeights, opencv_network
from yolo_edge import Detector
from yolo_edge.export import SourceModel, canonicalize, write_onnx
from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.importers.darknet.weights import NoWeights
from yolo_edge.ondevice.errors import InputError

A, P = "AlexeyAB", "pjreddie"

DETECTORS = [
    *(f"{A}/{name}" for name in (
        "Gaussian_yolov3_BDD", "cd53paspp-gamma", "cspx-p7-mish", "csresnext50-panet-spp",
        "csresnext50-panet-spp-original-optimal", "enet-coco", "resnet152_trident", "tiny-yolo", "tiny-yolo-voc",
        "yolo", "yolo-voc", "yolo-voc.2.0", "yolo.2.0", "yolo9000", "yolov2", "yolov2-tiny", "yolov2-tiny-voc",
        "yolov2-voc", "yolov3", "yolov3-openimages", "yolov3-spp", "yolov3-tiny", "yolov3-tiny-prn", "yolov3-tiny_3l",
        "yolov3-tiny_obj", "yolov3-voc", "yolov3-voc.yolov3-giou-40", "yolov3.coco-giou-12", "yolov3_5l", "yolov4",
        "yolov4-csp", "yolov4-csp-s-mish", "yolov4-csp-swish", "yolov4-csp-x-mish", "yolov4-csp-x-swish",
        "yolov4-csp-x-swish-frozen", "yolov4-custom", "yolov4-p5", "yolov4-p5-frozen", "yolov4-p6",
        "yolov4-sam-mish-csp-reorg-bfm", "yolov4-tiny", "yolov4-tiny-3l", "yolov4-tiny-custom",
        "yolov4-tiny_contrastive", "yolov4_new", "yolov4x-mish", "yolov7", "yolov7-tiny", "yolov7x",
    )),
    *(f"{P}/{name}" for name in (
        "yolo9000", "yolov2", "yolov2-tiny", "yolov2-tiny-voc", "yolov2-voc", "yolov3", "yolov3-openimages",
        "yolov3-spp", "yolov3-tiny", "yolov3-voc",
    )),
]  # fmt: skip

# what OpenCV 4.14 does not load, or computes otherwise than darknet
NOT_IN_OPENCV = {
    f"{A}/Gaussian_yolov3_BDD": "no [Gaussian_yolo]",
    f"{A}/resnet152_trident": "ignores dilation and share_index",
    f"{A}/yolov4-sam-mish-csp-reorg-bfm": "no [reorg3d]",
    f"{A}/yolov4-tiny_contrastive": "no [local_avgpool]",
}

CLASSIFIER, YOLOV1, RECURRENT = "this is a classifier", "YOLOv1's [detection]", "recurrent layers are not supported"
REFUSED = {
    **{f"{A}/{name}": CLASSIFIER for name in (
        "alexnet", "cifar", "cifar.test", "csdarknet53-omega", "cspx-p7-mish-omega", "darknet", "darknet19",
        "darknet19_448", "darknet53", "darknet53_448_xnor", "densenet201", "efficientnet-lite3", "efficientnet_b0",
        "extraction", "extraction.conv", "extraction22k", "resnet101", "resnet152", "resnet50", "resnext152-32x4d",
        "strided", "tiny", "vgg-16", "go.test",
    )},
    **{f"{P}/{name}": CLASSIFIER for name in (
        "alexnet", "cifar", "cifar.test", "darknet", "darknet19", "darknet19_448", "darknet53", "darknet53_448",
        "darknet9000", "densenet201", "extraction", "extraction.conv", "extraction22k", "resnet101", "resnet152",
        "resnet18", "resnet34", "resnet50", "resnext101-32x4d", "resnext152-32x4d", "resnext50", "strided", "tiny",
        "vgg-16", "go", "go.test",
    )},
    **{f"{A}/{name}": YOLOV1 for name in (
        "t1.test", "yolov1/tiny-coco", "yolov1/tiny-yolo", "yolov1/xyolo.test", "yolov1/yolo", "yolov1/yolo-coco",
        "yolov1/yolo-small", "yolov1/yolo.train", "yolov1/yolo2",
    )},
    **dict.fromkeys([f"{P}/t1.test", f"{P}/yolov1", f"{P}/yolov1-tiny"], YOLOV1),
    **{f"{room}/{name}": CLASSIFIER for room in (A, P) for name in ("gru", "rnn", "rnn.train")},
    f"{A}/crnn.train": CLASSIFIER,
    f"{A}/lstm.train": CLASSIFIER,
    f"{A}/yolov3-tiny_occlusion_track": RECURRENT,
    **{f"{room}/{name}": "not a detector" for room in (A, P) for name in ("jnet-conv", "vgg-conv", "writing")},
    f"{A}/tiny-yolo_xnor": "xnor: is not supported",
    f"{A}/yolov3-tiny_xnor": "xnor: is not supported",
    # a comma is missing in its anchors: darknet reads other numbers than meant
    f"{A}/cspx-p7-mish_hp": "anchors: expected numbers between commas",
}  # fmt: skip


def test_every_cfg_is_in_one_list(assets: Path) -> None:
    found = {str(path.relative_to(assets / "cfgs").with_suffix("")) for path in (assets / "cfgs").rglob("*.cfg")}
    assert len(found) == 140
    assert not set(DETECTORS) & set(REFUSED)
    assert found == {*DETECTORS, *REFUSED}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_by_name(assets: Path, name: str) -> None:
    path = assets / "cfgs" / f"{name}.cfg"
    with pytest.raises(InputError) as error:
        import_darknet(path, NoWeights())
    assert REFUSED[name] in str(error.value)
    assert str(error.value).startswith(str(path))


# OpenCV 4.14 is wrong about depthwise 3x3 convolutions of maps of one pixel (numpy is the judge)
DEPTHWISE = f"{A}/enet-coco"


def smallest(cfg: Path, weights: RandomWeights, least: int) -> SourceModel:
    """The network at its smallest size: as many cells of its coarsest stride as it allows, `least` or more."""
    stride = max(head.stride for head in import_darknet(cfg, NoWeights()).spec.heads)
    for cells in range(least, 9):
        size = (stride * cells, stride * cells)
        try:
            import_darknet(cfg, NoWeights(), size)
        except InputError:
            continue
        return import_darknet(cfg, weights, size)
    raise AssertionError(f"{cfg} has no small size")


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_built_and_equal_to_opencv(assets: Path, tmp_path: Path, name: str) -> None:
    cfg = assets / "cfgs" / f"{name}.cfg"
    if "yolo9000" in name:
        cfg = with_tree(cfg, tmp_path)
    weights = RandomWeights(seed=1)
    source = smallest(cfg, weights, least=2 if name == DEPTHWISE else 1)
    runtime = Detector(write_onnx(canonicalize(source.graph), source.spec)).runtime
    tensor = np.random.default_rng(0).random(source.spec.input.shape, dtype=np.float32)
    found = list(runtime.run(tensor).values())
    assert all(np.isfinite(array).all() for array in found)
    if name in NOT_IN_OPENCV:
        return  # its layers are compared one by one in test_darknet_layers.py
    text = cfg.read_text(errors="replace")
    for side, value in zip(("width", "height"), (source.spec.input.width, source.spec.input.height), strict=True):
        text = re.sub(rf"(?m)^\s*{side}\s*=.*$", f"{side}={value}", text, count=1)
    text = re.sub(r"(?m)^\s*(tree|map)\s*=.*$", "", text)  # has no part in the raw maps, and OpenCV refuses it
    if name == f"{A}/cspx-p7-mish":
        text = re.sub(r"(?m)^num\s*=\s*16$", "num=20", text)  # it lists 20 anchors, and uses them
    expected = opencv_network(text, weights.file(), tensor)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def with_tree(cfg: Path, folder: Path) -> Path:
    """A copy of the cfg with a tree and a map of the right size beside it; darknet's own are not among the assets."""
    (folder / "data").mkdir()
    classes = int(re.findall(r"classes\s*=\s*(\d+)", cfg.read_text())[0])
    parents = [-1] * 10 + [i // 4 for i in range(classes - 10)]
    (folder / "data/9k.tree").write_text("".join(f"n{i} {parent}\n" for i, parent in enumerate(parents)))
    (folder / "data/coco9k.map").write_text("".join(f"{i * 7}\n" for i in range(80)))
    return Path(shutil.copy(cfg, folder))
