"""Layers that OpenCV's importer lacks, against darknet's formulas written out in numpy."""

from pathlib import Path

import numpy as np
import pytest

from tests.support import RandomWeights, random_picture
from yolo_edge import Detector
from yolo_edge.export import SourceModel, canonicalize, write_onnx
from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.options import FileOptions
from yolo_edge.ondevice.errors import InputError

SIDE = 12
FIRST = "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n"
HEAD = "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"


def run(folder: Path, layers: str) -> tuple[np.ndarray, np.ndarray, RandomWeights]:
    """The map before `layers`, and after the 1x1 convolution that follows them; and the weights."""
    cfg = folder / "net.cfg"
    cfg.write_text(f"[net]\nwidth={SIDE}\nheight={SIDE}\n{FIRST}{layers}{HEAD}")
    weights = RandomWeights(seed=3)
    source = import_darknet(cfg, weights)
    tensor = np.random.default_rng(0).normal(0, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
    (found,) = Detector(write_onnx(canonicalize(source.graph), source.spec)).runtime.run(tensor).values()
    return pointwise(tensor[0], weights, 0), found[0], weights


def pointwise(x: np.ndarray, weights: RandomWeights, at: int) -> np.ndarray:
    """A 1x1 convolution with a bias: arrays `at` and `at` + 1 of the weights."""
    bias, matrix = weights.arrays[at], weights.arrays[at + 1][:, :, 0, 0]
    return np.einsum("oi,ihw->ohw", matrix.astype(np.float64), x) + bias[:, None, None]


def check(found: np.ndarray, expected: np.ndarray, weights: RandomWeights) -> None:
    """`found` is the head's map, `expected` what goes into its convolution."""
    result = pointwise(expected, weights, len(weights.arrays) - 2)
    assert found.shape == result.shape
    np.testing.assert_allclose(found, result, rtol=0, atol=1e-5 * np.abs(result).max())


def slow_convolution(x: np.ndarray, weight: np.ndarray, stride: tuple[int, int], dilation: int) -> np.ndarray:
    """Window by window, padded by (size − 1)/2 · dilation."""
    size = weight.shape[2]
    pad = size // 2 * dilation
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    rows, columns = (x.shape[1] - 1) // stride[0] + 1, (x.shape[2] - 1) // stride[1] + 1
    out = np.zeros((len(weight), rows, columns))
    for j in range(size):
        for i in range(size):
            window = padded[
                :,
                j * dilation : j * dilation + (rows - 1) * stride[0] + 1 : stride[0],
                i * dilation : i * dilation + (columns - 1) * stride[1] + 1 : stride[1],
            ]
            out += np.einsum("oc,chw->ohw", weight[:, :, j, i].astype(np.float64), window)
    return out


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 5])
def test_dilation(tmp_path: Path, size: int, dilation: int) -> None:
    layer = f"[convolutional]\nfilters=5\nsize={size}\npad=1\ndilation={dilation}\nactivation=linear\n"
    x, found, weights = run(tmp_path, layer)
    expected = slow_convolution(x, weights.arrays[3], (1, 1), dilation) + weights.arrays[2][:, None, None]
    check(found, expected, weights)


def test_dilation_means_nothing_to_a_window_of_one(tmp_path: Path) -> None:
    x, found, weights = run(tmp_path, "[convolutional]\nfilters=5\nsize=1\ndilation=3\nactivation=linear\n")
    check(found, pointwise(x, weights, 2), weights)


def test_strides_of_their_own(tmp_path: Path) -> None:
    layer = "[convolutional]\nfilters=5\nsize=3\npad=1\nstride=4\nstride_x=2\nactivation=relu6\n"
    # the head needs square cells: an upsample to undo what differs
    cfg = tmp_path / "net.cfg"
    cfg.write_text(f"[net]\nwidth={2 * SIDE}\nheight={4 * SIDE}\n{FIRST}{layer}{HEAD}")
    with pytest.raises(InputError, match="its 12x12 grid does not tile the 24x48 input"):
        import_darknet(cfg, RandomWeights())
    both = "[convolutional]\nfilters=5\nsize=3\npad=1\nstride_y=2\nstride_x=2\nactivation=relu6\n"
    x, found, weights = run(tmp_path, both)
    expected = slow_convolution(x, weights.arrays[3], (2, 2), 1) + weights.arrays[2][:, None, None]
    check(found, np.clip(expected, 0, 6), weights)


def test_shared_parameters(tmp_path: Path) -> None:
    layer = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=linear\n"
    x, found, weights = run(tmp_path, layer + layer + "share_index=-1\n")
    assert len(weights.arrays) == 2 + 5 + 2  # the second has none of its own
    bias, scale, mean, variance, weight = weights.arrays[2:7]
    for _ in range(2):
        x = slow_convolution(x, weight, (1, 1), 1)
        factor = scale.astype(np.float64) / np.sqrt(variance + 1e-6)
        x = (x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]
    check(found, x, weights)


@pytest.mark.parametrize(
    "options", [FileOptions("fp16"), FileOptions("fp16", "decoded", "uint8"), FileOptions("fp16", "nms")]
)
def test_shared_parameters_in_every_file(tmp_path: Path, options: FileOptions) -> None:
    layer = "[convolutional]\nbatch_normalize=1\nfilters=3\nsize=3\npad=1\nactivation=linear\n"
    cfg = tmp_path / "net.cfg"
    cfg.write_text(f"[net]\nwidth={SIDE}\nheight={SIDE}\n{layer}{layer}share_index=0\n{HEAD}")
    source = import_darknet(cfg, RandomWeights())
    data = write_onnx(canonicalize(source.graph), source.spec, options)
    picture = random_picture(SIDE, SIDE)
    found, expected = (
        Detector(file, confidence=0.01)(picture) for file in (data, write_onnx(canonicalize(source.graph), source.spec))
    )
    assert options.head == "nms" or len(found) == len(expected) > 0


def test_factors_of_shortcuts_are_refused(tmp_path: Path) -> None:
    for key in ("alpha", "beta"):
        with pytest.raises(InputError, match=f"{key}: only 1 is supported"):
            run(tmp_path, f"[shortcut]\nfrom=-1\n{key}=0.5\n")


def test_batchnorm_alone(tmp_path: Path) -> None:
    x, found, weights = run(tmp_path, "[maxpool]\nsize=1\nstride=1\n[batchnorm]\n")
    bias, scale, mean, variance = (array[:, None, None] for array in weights.arrays[2:6])
    check(found, (x - mean) / np.sqrt(variance.astype(np.float64) + 1e-6) * scale + bias, weights)


@pytest.mark.parametrize(("size", "stride", "padding"), [(4, 4, 3), (2, 2, 1), (3, 1, 2), (4, 2, 2), (2, 1, 1)])
@pytest.mark.parametrize("kind", ["local_avgpool", "maxpool"])
def test_pools(tmp_path: Path, kind: str, size: int, stride: int, padding: int) -> None:
    count = (SIDE + padding - size) // stride + 1
    x, found, weights = run(tmp_path, f"[{kind}]\nsize={size}\nstride={stride}\npadding={padding}\n")
    expected = np.empty((len(x), count, count))
    reduce = np.mean if kind == "local_avgpool" else np.max
    for j in range(count):
        for i in range(count):
            top, left = j * stride - padding // 2, i * stride - padding // 2
            window = x[:, max(top, 0) : top + size, max(left, 0) : left + size]
            expected[:, j, i] = reduce(window, axis=(1, 2))
    check(found, expected, weights)


def test_reorg3d_is_space_to_depth(tmp_path: Path) -> None:
    x, found, weights = run(tmp_path, "[reorg3d]\nstride=2\n")
    expected = np.concatenate([x[:, dy::2, dx::2] for dy in range(2) for dx in range(2)])
    check(found, expected, weights)


def test_reorg_is_not(tmp_path: Path) -> None:
    """`reorg_cpu` of pjreddie's src/blas.c, index by index."""
    x, found, weights = run(tmp_path, "[reorg]\nstride=2\n")
    c, h, w, stride = len(x), SIDE, SIDE, 2
    memory, out = x.reshape(-1), np.empty(x.size)
    out_c = c // stride**2
    for k in range(c):
        for j in range(h):
            for i in range(w):
                c2, offset = k % out_c, k // out_c
                w2, h2 = i * stride + offset % stride, j * stride + offset // stride
                out[i + w * (j + h * k)] = memory[w2 + w * stride * (h2 + h * stride * c2)]
    check(found, out.reshape(4 * c, h // 2, w // 2), weights)


@pytest.mark.parametrize("kind", ["per_feature", "per_channel"])
@pytest.mark.parametrize("normalization", ["none", "avg_relu", "softmax"])
def test_weighted_shortcuts_of_several(tmp_path: Path, kind: str, normalization: str) -> None:
    narrow = "[convolutional]\nfilters=5\nsize=1\nactivation=linear\n"
    wide = "[convolutional]\nfilters=11\nsize=1\nactivation=linear\n"
    again = "[route]\nlayers=0\n"
    shortcut = f"[shortcut]\nfrom=-2,-4\nweights_type={kind}\nweights_normalization={normalization}\nactivation=relu\n"
    x, found, weights = run(tmp_path, narrow + again + wide + again + shortcut)
    # layers: 0 the first, 1 five channels, 3 eleven; `from` names 3 and 1
    added = [x, pointwise(x, weights, 4), pointwise(x, weights, 2)]
    raw = weights.arrays[6].astype(np.float64)
    assert raw.shape == (3, len(x) if kind == "per_channel" else 1)
    if normalization == "avg_relu":
        raw = np.maximum(raw, 0) / (1e-4 + np.maximum(raw, 0).sum(axis=0))
    elif normalization == "softmax":
        raw = np.exp(raw - raw.max(axis=0)) / (1e-4 + np.exp(raw - raw.max(axis=0)).sum(axis=0))
    factors = np.broadcast_to(raw, (3, len(x)))
    expected = np.zeros_like(x)
    for factor, value in zip(factors, added, strict=True):
        common = min(len(value), len(x))
        expected[:common] += factor[:common, None, None] * value[:common]
    check(found, np.maximum(expected, 0), weights)


def test_scale_of_an_upsample(tmp_path: Path) -> None:
    cfg = "[maxpool]\nsize=2\nstride=2\n[upsample]\nstride=2\nscale=0.25\n"
    x, found, weights = run(tmp_path, cfg)
    # a window of two starts at the pixel itself: padding 1, 0 before
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
    pooled = np.max([padded[:, j : j + SIDE : 2, i : i + SIDE : 2] for j in range(2) for i in range(2)], axis=0)
    check(found, 0.25 * pooled.repeat(2, axis=1).repeat(2, axis=2), weights)


def test_losses_have_no_part(tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    branch = "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n[contrastive]\nclasses=1\n[route]\nlayers=0\n"
    cfg.write_text(f"[net]\nwidth={SIDE}\nheight={SIDE}\n{FIRST}{branch}{HEAD}[cost]\n")
    source: SourceModel = import_darknet(cfg, RandomWeights())
    names = [node.name for node in canonicalize(source.graph).graph]
    assert names == ["conv_0", "conv_4"]
