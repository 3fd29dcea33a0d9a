"""The darknet importer against OpenCV's, which we did not write."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import opencv_network, random_darknet
from yolo_edge import Detector
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.errors import InputError

NET = "[net]\nwidth=64\nheight=64\n"
CONV = "[convolutional]\nfilters=12\nsize=3\nstride=2\npad=1\n"
HEAD = "[yolo]\nclasses=1\nanchors=4,5,6,7\nnum=2\n"


@given(seed=st.integers(0, 10**6))
@settings(max_examples=80, derandomize=True)
def test_random_networks_equal_opencv(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    cfg = random_darknet(tmp_path_factory.mktemp("net"), seed)
    source = load_model(cfg)
    runtime = Detector(write_onnx(canonicalize(source.graph), source.spec)).runtime
    tensor = np.random.default_rng(seed).random(source.spec.input.shape, dtype=np.float32)
    expected = opencv_network(cfg.read_text(), np.fromfile(cfg.with_suffix(".weights"), np.uint8), tensor)
    found = list(runtime.run(tensor).values())
    assert len(found) == len(expected) == len(source.spec.heads)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours).max() > 0
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def build(folder: Path, text: str, **options: object) -> object:
    path = folder / "net.cfg"
    path.write_text(text)
    return load_model(path, shapes_only=True, **options)  # type: ignore[arg-type]


def test_heads_are_in_the_spec(tmp_path: Path) -> None:
    heads = "[yolo]\nmask=2,0\nanchors=4,5, 6,7, 8,9\nnum=3\nclasses=1\nscale_x_y=1.05\n"
    source = build(tmp_path, NET + CONV + CONV + heads)
    head = source.spec.heads[0]  # type: ignore[attr-defined]
    assert (head.family, head.stride, head.scale_xy) == ("yolo", 4, 1.05)
    assert head.anchors == ((8, 9), (4, 5))
    assert head.tensors == {"map": "head_0"}


def test_region_anchors_become_pixels(tmp_path: Path) -> None:
    head = "[region]\nanchors=1.5,2\nnum=1\nclasses=7\nsoftmax=1\n"
    spec = build(tmp_path, NET + CONV + CONV + head).spec  # type: ignore[attr-defined]
    assert spec.heads[0].anchors == ((6, 8),)
    assert spec.heads[0].class_activation == "softmax"
    assert spec.names == tuple(f"class_{i}" for i in range(7))


def test_letter_box_of_the_cfg_is_honoured(tmp_path: Path) -> None:
    assert build(tmp_path, NET + CONV + HEAD).spec.input.resize == "stretch"  # type: ignore[attr-defined]
    text = NET + "letter_box=1\n" + CONV + HEAD
    assert build(tmp_path, text).spec.input.resize == "letterbox"  # type: ignore[attr-defined]
    assert build(tmp_path, text, resize="stretch").spec.input.resize == "stretch"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NET + CONV, "not a detector: it has none of [Gaussian_yolo], [region], [yolo]"),
        (NET + "[lstm]\n" + HEAD, "[lstm] (layer 0): recurrent layers are not supported"),
        (NET + "[route]\nlayers=-1\n" + HEAD, "layers: layer -1 is not before this one"),
        (NET + CONV + "[route]\nlayers=1\n" + HEAD, "layers: layer 1 is not before this one"),
        (NET + CONV + "[route]\nlayers=999999\n" + HEAD, "layers: layer 999999 is not before this one"),
        (NET + CONV + "[route]\n" + HEAD, "layers: names no layer"),
        (NET + CONV + CONV + "[route]\nlayers=-1,-2\n" + HEAD, "cannot join maps of 16x16x12 and 32x32x12"),
        (NET + CONV + CONV + "[shortcut]\nfrom=-2\n" + HEAD, "cannot add maps of 16x16x12 and 32x32x12"),
        (NET + CONV + HEAD + CONV + HEAD, "layer 1 has no output that could be used"),
        (NET + CONV + "[yolo]\nclasses=3\nanchors=4,5\nnum=1\n", "1 anchors and 3 classes need 8 channels"),
        (NET + CONV + "[yolo]\nmask=5\nanchors=4,5\nnum=1\n", "6 anchors have 12 numbers, got 2"),
        (NET + CONV + "[yolo]\nclasses=1\nanchors=4,5,6\nnum=2\n", "2 anchors have 4 numbers, got 3"),
        (NET + CONV + "[yolo]\nclasses=1\nanchors=4,5,0,7\nnum=2\n", "two sides above 0, up to 1e+06, got 0,7"),
        (NET + CONV + "[yolo]\nclasses=1\nanchors=4,5,6,1e7\nnum=2\n", "above 0, up to 1e+06, got 6,1e+07"),
        (NET + CONV.replace("12", "0") + HEAD, "filters: expected 1..1048576, got 0"),
        (NET + CONV.replace("stride=2", "stride=0") + HEAD, "stride: expected 1..1048576, got 0"),
        (NET + CONV + "groups=7\n" + HEAD, "groups: 7 groups do not divide 3 inputs and 12 filters"),
        (NET + CONV + "activation=hexagon\n" + HEAD, "activation: 'hexagon' is not supported; there are leaky, linear"),
        (NET + CONV + "[yolo]\nmask=-1\nanchors=4,5\n", "mask: expected anchors 0..999"),
        (NET + CONV + "[yolo]\nmask=1000000000\nanchors=4,5\n", "mask: expected anchors 0..999"),
        (NET + CONV + "activation=linear\n" + HEAD + "new_coords=1\n", "new_coords: needs activation=logistic"),
        (NET + CONV + "[Gaussian_yolo]\nyolo_point=left_top\n", "yolo_point: only center is supported"),
        (NET + CONV.replace("pad=1", "padding=0") + "dilation=2\n" + HEAD, "dilation: with a padding of 0"),
        (NET + CONV + "[reorg]\nstride=3\n" + HEAD, "a map of 32x32x12 does not divide by 3"),
        (NET + CONV.replace("12", "10") + "[reorg]\nstride=2\n" + HEAD, "10 channels are not divisible by 2²"),
        (NET + CONV * 2 + "[sam]\nfrom=-2\n" + HEAD, "cannot multiply maps of 16x16x12 and 32x32x12"),
        (NET + CONV + "[shortcut]\nfrom=-1\nweights_type=odd\n" + HEAD, "weights_type: expected none, per_feature"),
        (NET + CONV + "[shortcut]\nfrom=-1\nweights_normalization=odd\n" + HEAD, "weights_normalization: expected"),
        (NET + CONV * 2 + "share_index=0\n" + HEAD, "share_index: layer 0 is a convolution of another shape"),
        (NET + CONV + "share_index=7\n" + HEAD, "share_index: layer 7 is not a convolution before this one"),
        (NET + CONV + "[empty]\n" + HEAD, "[empty] (layer 1): this kind of layer is not supported"),
        (NET + CONV + "xnor=1\n" + HEAD, "xnor: is not supported"),
        (NET.replace("64", "4") + CONV * 2 + "[convolutional]\nsize=9\n" + HEAD, "the network's input is too small"),
        (NET.replace("height=64", "height=66") + CONV * 3 + HEAD, "its 8x9 grid does not tile the 64x66 input"),
        (NET.replace("64", "99999") + CONV + HEAD, "width: expected 1..2048, got 99999"),
        ("[net]\nchannels=1\nwidth=8\nheight=8\n" + CONV + HEAD, "only pictures with 3 channels are supported, got 1"),
        ("[net]\n" + CONV + HEAD, "width: expected 1..2048, got 0"),
        (NET + CONV.replace("12", "1000000") + "[upsample]\nstride=64\n" + HEAD, "too large"),
        (
            "[net]\nwidth=1\nheight=1\n"
            + "[convolutional]\nfilters=1048576\n"
            + f"[route]\nlayers={','.join(['-1'] * 40)}\n"
            + "[convolutional]\nfilters=1048576\nsize=1023\npad=1\n"
            + HEAD,
            "1048576 filters of 1023x1023x41943040 are too large",
        ),
    ],
)  # fmt: skip
def test_what_a_network_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        build(tmp_path, text)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "net.cfg"))


def test_sizes_that_the_network_allows(tmp_path: Path) -> None:
    text = NET + CONV + CONV + HEAD
    for size in [(32, 32), (64, 96), (2048, 4)]:
        spec = build(tmp_path, text, size=size).spec  # type: ignore[attr-defined]
        assert (spec.input.width, spec.input.height) == size
    with pytest.raises(InputError, match=r"size 30x64: net\.cfg needs multiples of 4, such as 28 or 32 or 64 or 68"):
        build(tmp_path, text, size=(30, 64))
    with pytest.raises(InputError, match=r"expected 1..2048 pixels a side"):
        build(tmp_path, text, size=(0, 64))


def test_absurd_numbers_of_parameters_cost_no_memory(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(NET + CONV.replace("12", "1000000") * 2 + HEAD)
    (tmp_path / "net.weights").write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + b"\0" * 400)
    with pytest.raises(InputError, match=r"\(layer 2\): 2 anchors and 1 classes need 12 channels"):
        load_model(tmp_path / "net.cfg")
    (tmp_path / "net.cfg").write_text(NET + CONV.replace("12", "1000000") * 2 + CONV + HEAD)
    with pytest.raises(InputError, match=r"too short for net\.cfg: the network has 9000"):
        load_model(tmp_path / "net.cfg")


def test_names(tmp_path: Path) -> None:
    text = NET + CONV.replace("12", "25") + "[yolo]\nclasses=20\nanchors=4,5\nnum=1\n"
    spec = build(tmp_path, text).spec  # type: ignore[attr-defined]
    assert (spec.names[0], spec.names_from) == ("aeroplane", "voc assumed")
    assert build(tmp_path, text, names="voc").spec.names_from == "voc"  # type: ignore[attr-defined]
    names = tmp_path / "my.names"
    names.write_text("\ufeff" + "\n".join(f"thing {i}" for i in range(20)) + "\n\n", encoding="utf-8")
    spec = build(tmp_path, text, names=str(names)).spec  # type: ignore[attr-defined]
    assert (spec.names[19], spec.names_from) == ("thing 19", "file my.names")
    with pytest.raises(InputError, match="names coco: 80 names for 20 classes"):
        build(tmp_path, text, names="coco")
    for content, message in [
        (b"a\n\nb\n", "my.names:2: expected a class name, got ''"),
        (b"\xff\xfe", "UTF-8"),
        (b"a\x1b[2J\n", "my.names:1"),
    ]:
        names.write_bytes(content)
        with pytest.raises(InputError, match=message):
            build(tmp_path, text, names=str(names))


def test_weights_are_looked_for_beside_the_cfg(tmp_path: Path) -> None:
    cfg = random_darknet(tmp_path, 5)
    other = cfg.with_suffix(".weights").rename(tmp_path / "other.weights")
    with pytest.raises(InputError, match=r"no weights at .*random-5.weights; give them with --weights FILE"):
        load_model(cfg)
    assert load_model(cfg, weights=other).spec.provenance.sha256.keys() == {"random-5.cfg", "other.weights"}


def test_what_is_no_cfg_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a darknet .cfg or an .onnx file, got .tflite"):
        load_model(tmp_path / "model.tflite")
    message = r"never loaded; make an ONNX file with its trainer: yolo export model=model.pt format=onnx"
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "model.pt")


TREE_HEAD = "[region]\nanchors=1,1\nnum=1\nclasses={classes}\nsoftmax=1\ntree=data/a.tree\n"


@pytest.mark.parametrize("place", ["beside", "above", "absolute"])
def test_word_trees(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "cfg"
    folder.mkdir()
    data = (folder if place == "beside" else tmp_path) / "data"
    data.mkdir()
    (data / "a.tree").write_text("animal -1\nthing -1\ndog 0\ncat 0\n")
    (data / "a.map").write_text("3\n1\n")
    text = NET + CONV.replace("12", "9") + TREE_HEAD.format(classes=4)
    if place == "absolute":
        text = text.replace("data/a.tree", str(data / "a.tree"))
    spec = build(folder, text).spec  # type: ignore[attr-defined]
    assert (spec.names, spec.names_from) == (("animal", "thing", "dog", "cat"), "tree")
    assert spec.heads[0].tree == (-1, -1, 0, 0)
    mapped = build(folder, text + "map=data/a.map\n").spec if place != "absolute" else None  # type: ignore[attr-defined]
    if mapped is not None:
        assert (mapped.names, mapped.heads[0].tree_map) == (("cat", "thing"), (3, 1))


@pytest.mark.parametrize(
    ("tree", "classes", "message"),
    [
        (None, 4, "tree: no such file: data/a.tree (looked in"),
        ("a -1\nb 1\n", 2, "a.tree:2: expected a name and an earlier node (or -1)"),
        ("a -1\nb x\n", 2, "a.tree:2: expected a name"),
        ("a -1\n\nb x\n", 2, "a.tree:3: expected a name"),
        ("a\n", 1, "a.tree:1: expected a name"),
        ("a -1\nb 0\n", 3, "has 2 nodes, classes= says 3"),
        ("a -1\nb 0\nc -1\n", 3, "the children of a node stand together, here they do not"),
        (b"\xff\xfe\x00", 3, "expected UTF-8 text"),
        ("a -1\nb\x1b[2J -1\n", 2, "a.tree:2: expected a name"),
    ],
)
def test_what_is_no_tree(tmp_path: Path, tree: str | bytes | None, classes: int, message: str) -> None:
    (tmp_path / "data").mkdir()
    if tree is not None:
        (tmp_path / "data/a.tree").write_bytes(tree if isinstance(tree, bytes) else tree.encode())
    with pytest.raises(InputError) as error:
        build(tmp_path, NET + CONV.replace("12", "9") + TREE_HEAD.format(classes=classes))
    assert message in str(error.value)


def test_what_is_no_map(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    for content, message in {"4\n": "expected a node 0..3", "x": "a.map:1: ", "\n": "the map is empty"}.items():
        (tmp_path / "data/a.map").write_text(content + ("" if content != "\n" else " "))
        with pytest.raises(InputError) as error:
            build(tmp_path, NET + CONV.replace("12", "9") + TREE_HEAD.format(classes=4) + "map=data/a.map\n")
        assert message in str(error.value)
