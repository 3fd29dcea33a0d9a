from pathlib import Path

import pytest

from tests.support import random_darknet
from yolo_edge.export.importers.darknet.reanchor import replace_anchors
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.errors import InputError


def test_only_what_must_change_does(assets: Path, tmp_path: Path) -> None:
    source = assets / "cfgs" / "AlexeyAB" / "yolov4.cfg"
    masks = [(0, 1), (2, 3), (4, 5)]
    text = replace_anchors(source, "1,2, 3,4, 5,6, 7,8, 9,10, 11,12", ["", "", ""], masks)
    before, after = source.read_text().splitlines(), text.splitlines()
    assert len(before) == len(after)
    changed = [(old.split("=")[0].strip(), new) for old, new in zip(before, after, strict=True) if old != new]
    assert [key for key, _ in changed] == ["filters", "mask", "anchors", "num"] * 3
    assert changed[0][1] == "filters=170"
    assert [new for key, new in changed if key == "mask"] == ["mask = 0,1", "mask = 2,3", "mask = 4,5"]
    target = tmp_path / "new.cfg"
    target.write_text(text)
    heads = load_model(target, shapes_only=True).spec.heads
    assert [head.anchors for head in heads] == [((1, 2), (3, 4)), ((5, 6), (7, 8)), ((9, 10), (11, 12))]
    assert [head.stride for head in heads] == [8, 16, 32]


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_with_other_anchors(tmp_path: Path, seed: int) -> None:
    source = random_darknet(tmp_path, seed)
    heads = load_model(source, shapes_only=True).spec.heads
    anchors = [(10.0 + i, 20.0 + i) for i in range(2 * len(heads))]
    pixels = ", ".join(f"{w:g},{h:g}" for w, h in anchors)
    masks = [(2 * i, 2 * i + 1) for i in range(len(heads))]
    cells = [
        ", ".join(f"{anchors[i][0] / head.stride:.6f},{anchors[i][1] / head.stride:.6f}" for i in mask)
        for head, mask in zip(heads, masks, strict=True)
    ]
    target = tmp_path / "new.cfg"
    target.write_text(replace_anchors(source, pixels, cells, masks))
    for number, head in enumerate(load_model(target, shapes_only=True).spec.heads):
        assert head.anchors == tuple(pytest.approx(anchors[i], abs=1e-3) for i in masks[number])


def test_missing_lines_are_added_and_carriage_returns_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    lines = ["[net]", "width=64", "height=64", "channels=3", "[convolutional]", "filters=7", "size=1", "stride=1"]
    lines += ["activation=linear", "[yolo]", "classes=2", "anchors=3,4", "num=1"]
    path.write_bytes("\r\n".join(lines).encode())
    text = replace_anchors(path, "5,6, 7,8", [""], [(0, 1)])
    assert "[yolo]\nmask=0,1\nclasses=2\nanchors=5,6, 7,8\nnum=2" in text
    assert "filters=14\n" in text
    path.write_text(text)
    assert load_model(path, shapes_only=True).spec.heads[0].anchors == ((5, 6), (7, 8))


def test_refused(tmp_path: Path) -> None:
    path = random_darknet(tmp_path, 3)
    heads = len(load_model(path, shapes_only=True).spec.heads)
    with pytest.raises(InputError, match=f"has {heads} heads, anchors were shared out among {heads + 1}"):
        replace_anchors(path, "1,2", [""] * (heads + 1), [(0,)] * (heads + 1))
    lines = "[net]\nwidth=64\nheight=64\n[convolutional]\nfilters=7\nsize=1\n[dropout]\n[yolo]\nclasses=2\n"
    path.write_text(lines)
    with pytest.raises(InputError, match=r"a?\.cfg:8: \[yolo\] \(layer 2\): needs a \[convolutional\] before it"):
        replace_anchors(path, "1,2", [""], [(0,)])
