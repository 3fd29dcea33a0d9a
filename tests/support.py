"""What tests of several rooms share: the folder of real data, and random darknet networks."""

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def shared_dir() -> Path:
    """The folder with real detectors and pictures, which is no part of the project.

    Where it is missing, the test skips and says so; in CI that is a failure.
    """
    folder = Path(os.environ.get("YOLO_EDGE_SHARED", ROOT.parent / "shared"))
    if not (folder / "assets").is_dir():
        reason = f"no shared data at {folder} (YOLO_EDGE_SHARED says where)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `condition`, which has to come within so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def random_picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A seeded BGR picture with coarse and fine structure."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(picture + rng.integers(-20, 21, picture.shape), 0, 255).astype(np.uint8)


@dataclass
class DarknetWriter:
    """Writes a cfg and matching weights section by section, with its own arithmetic of sizes."""

    width: int
    height: int
    rng: np.random.Generator
    text: list[str] = field(default_factory=list)
    floats: list[np.ndarray] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)  # channels, height, width of each layer

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.shapes[-1] if self.shapes else (3, self.height, self.width)

    def section(self, kind: str, shape: tuple[int, int, int], **options: object) -> None:
        lines = [f"[{kind}]", *(f"{key}={value}" for key, value in options.items()), ""]
        self.text.append("\n".join(lines))
        self.shapes.append(shape)

    def convolution(
        self,
        filters: int,
        size: int = 1,
        stride: int = 1,
        groups: int = 1,
        normalize: bool = True,
        activation: str = "leaky",
    ) -> None:
        channels, height, width = self.shape
        padding = size // 2
        shape = (
            filters,
            (height + 2 * padding - size) // stride + 1,
            (width + 2 * padding - size) // stride + 1,
        )
        self.section(
            "convolutional",
            shape,
            batch_normalize=int(normalize),
            filters=filters,
            size=size,
            stride=stride,
            pad=1,
            groups=groups,
            activation=activation,
        )
        self.floats.append(self.rng.normal(0, 0.3, filters))
        if normalize:
            self.floats.append(self.rng.uniform(0.5, 1.5, filters))
            self.floats.append(self.rng.normal(0, 0.3, filters))
            self.floats.append(self.rng.uniform(0.3, 2, filters))
        inputs = channels // groups * size * size
        self.floats.append(self.rng.normal(0, (2 / inputs) ** 0.5, filters * inputs))

    def reorg(self) -> None:
        channels, height, width = self.shape
        self.section("reorg", (4 * channels, height // 2, width // 2), stride=2)

    def sam(self, layer: int) -> None:
        self.section("sam", self.shape, **{"from": layer - len(self.shapes)})

    def maxpool(self, size: int, stride: int) -> None:
        channels, height, width = self.shape
        # darknet pads by size - 1 in all
        self.section(
            "maxpool", (channels, (height - 1) // stride + 1, (width - 1) // stride + 1), size=size, stride=stride
        )

    def upsample(self, factor: int = 2) -> None:
        channels, height, width = self.shape
        self.section("upsample", (channels, factor * height, factor * width), stride=factor)

    def shortcut(self, layer: int, activation: str) -> None:
        self.section("shortcut", self.shape, **{"from": layer - len(self.shapes), "activation": activation})

    def route(self, layers: list[int], absolute: bool) -> None:
        _, height, width = self.shapes[layers[0]]
        numbers = layers if absolute else [layer - len(self.shapes) for layer in layers]
        channels = sum(self.shapes[layer][0] for layer in layers)
        self.section("route", (channels, height, width), layers=",".join(map(str, numbers)))

    def route_group(self, layer: int, groups: int, group_id: int) -> None:
        channels, height, width = self.shapes[layer]
        self.section("route", (channels // groups, height, width), layers=layer, groups=groups, group_id=group_id)

    def squeeze_excite(self) -> None:
        source, (channels, height, width) = len(self.shapes) - 1, self.shape
        self.section("avgpool", (channels, 1, 1))
        self.convolution(max(channels // 2, 1), activation="relu")
        self.convolution(channels, activation="logistic")
        self.section("scale_channels", (channels, height, width), **{"from": source - len(self.shapes)})

    def yolo(self, anchors: int, classes: int, scale_x_y: float, new_coords: bool = False) -> None:
        activation = "logistic" if new_coords else "linear"
        self.convolution(anchors * (5 + classes), normalize=False, activation=activation)
        sides = ", ".join(f"{w},{h}" for w, h in self.rng.integers(8, self.width, (anchors, 2)))
        self.section(
            "yolo",
            self.shape,
            mask=",".join(map(str, range(anchors))),
            anchors=sides,
            classes=classes,
            num=anchors,
            scale_x_y=scale_x_y,
            new_coords=int(new_coords),
        )

    def region(self, anchors: int, classes: int) -> None:
        self.convolution(anchors * (5 + classes), normalize=False, activation="linear")
        sides = ",".join(f"{side:.2f}" for side in self.rng.uniform(0.5, 6, 2 * anchors))
        self.section("region", self.shape, anchors=sides, classes=classes, coords=4, num=anchors, softmax=1)

    def write(self, cfg: Path) -> Path:
        head = f"[net]\nbatch=1\nwidth={self.width}\nheight={self.height}\nchannels=3\n"
        cfg.write_text("\n".join([head, *self.text]))
        header = np.array([0, 2, 5, 0, 0], "<i4").tobytes()
        cfg.with_suffix(".weights").write_bytes(header + np.concatenate(self.floats).astype("<f4").tobytes())
        return cfg


def random_darknet(folder: Path, seed: int = 0, classes: int | None = None) -> Path:
    """Write a small random detector, NAME.cfg and NAME.weights; returns the path of the cfg.

    Five to twenty layers of all kinds, one to three heads, often not square; every size follows from the seed.
    """
    rng = np.random.default_rng(seed)
    width, height = (int(side) * 32 for side in rng.integers(1, 4, 2))
    net = DarknetWriter(width, height, rng)
    classes = classes or int(rng.integers(1, 7))
    net.convolution(int(rng.integers(4, 12)), 3, 2, activation=_activation(rng))
    for _ in range(int(rng.integers(3, 12))):
        _random_layer(net, rng)
    if rng.random() < 0.25:
        _tile(net)
        net.region(int(rng.integers(1, 4)), classes)
        return net.write(folder / f"random-{seed}.cfg")
    for number in range(int(rng.integers(1, 4))):
        if number:
            net.route([int(rng.integers(0, len(net.shapes) // 2)) if number == 2 else 0], absolute=True)
            if rng.random() < 0.5 and net.shape[1] < height // 2:
                net.upsample()
        _tile(net)
        net.yolo(int(rng.integers(1, 4)), classes, float(rng.choice([1, 1.05, 1.2])), bool(rng.random() < 0.2))
    return net.write(folder / f"random-{seed}.cfg")


def _activation(rng: np.random.Generator) -> str:
    return str(rng.choice(["leaky", "relu", "linear", "logistic", "mish", "swish"], p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1]))


def _random_layer(net: DarknetWriter, rng: np.random.Generator) -> None:
    channels, height, width = net.shape
    same_size = [i for i, shape in enumerate(net.shapes) if shape[1:] == (height, width) and shape[0] + channels < 96]
    same_shape = [i for i, shape in enumerate(net.shapes[:-1]) if shape == net.shape]
    small = min(height, width) <= 4
    kind = rng.choice(
        ["conv", "depthwise", "down", "maxpool", "shortcut", "route", "group", "up", "se", "dropout", "reorg", "sam"]
    )
    if kind == "depthwise":
        net.convolution(channels, int(rng.choice([3, 5])), 1, channels, activation=_activation(rng))
    elif kind == "down" and not small:
        net.convolution(int(rng.integers(4, 24)), 3, 2, activation=_activation(rng))
    elif kind == "maxpool":
        net.maxpool(int(rng.choice([2, 3, 5])), 1 if small else int(rng.choice([1, 2])))
    elif kind == "shortcut" and len(same_size) > 1:
        # maps of other numbers of channels too
        net.shortcut(int(rng.choice(same_size)), str(rng.choice(["linear", "leaky"])))
    elif kind == "route" and len(same_size) > 1:
        picked = sorted(int(i) for i in rng.choice(same_size, 2, replace=False))
        net.route(picked, absolute=bool(rng.random() < 0.5))
    elif kind == "group" and channels % 2 == 0:
        net.route_group(len(net.shapes) - 1, 2, int(rng.integers(0, 2)))
    elif kind == "up" and max(height, width) <= 16:
        net.upsample(int(rng.choice([2, 3])))
    elif kind == "reorg" and channels % 4 == 0 and channels < 32 and height % 2 == width % 2 == 0 and not small:
        net.reorg()
    elif kind == "sam" and same_shape:
        net.sam(int(rng.choice(same_shape)))
    elif kind == "se":
        net.squeeze_excite()
    elif kind == "dropout":
        net.section("dropout", net.shape, probability=0.5)
    else:
        normalize = bool(rng.random() < 0.7)
        net.convolution(
            int(rng.integers(4, 24)), int(rng.choice([1, 3])), normalize=normalize, activation=_activation(rng)
        )


def _tile(net: DarknetWriter) -> None:
    """Make the last map one that tiles the input evenly, as a head needs: the first layer's does."""
    _, height, width = net.shape
    if net.height % height or net.width % width or net.height // height != net.width // width:
        net.route([0], absolute=True)


class RandomWeights:
    """Seeded parameters of the right size for any network, and the weights file that holds the same.

    They are cut from one pool of numbers, since the largest networks have hundreds of millions.
    """

    def __init__(self, seed: int = 0):
        self._pool = np.random.default_rng(seed).normal(0, 1, 1 << 20).astype(np.float32)
        self._offset = 0
        self.arrays: list[np.ndarray] = []

    def take(self, shape: Sequence[int], where: str) -> np.ndarray:
        count = math.prod(shape)
        self._offset = (self._offset + 7919) % len(self._pool)
        array = np.resize(np.roll(self._pool, self._offset), count).reshape(tuple(shape))
        if where.endswith("variance"):
            array = np.abs(array) + np.float32(0.5)
        elif where.endswith("scale"):
            array = 1 + np.float32(0.1) * array
        elif len(shape) == 4:
            array = array * np.float32((2 / math.prod(shape[1:])) ** 0.5)
        else:
            array = array * np.float32(0.1)
        self.arrays.append(array)
        return array

    def file(self) -> np.ndarray:
        """The bytes of a weights file, uint8."""
        header = np.frombuffer(np.array([0, 2, 5, 0, 0], "<i4").tobytes(), np.uint8)
        return np.concatenate([header, *(array.reshape(-1).view(np.uint8) for array in self.arrays)])


def opencv_network(cfg: str, weights: np.ndarray, tensor: np.ndarray) -> Sequence[np.ndarray]:
    """The raw maps of a darknet network as OpenCV computes them.

    Args:
        cfg: The text, at the size of `tensor`.
        weights: The bytes of a weights file, uint8.
        tensor: The input.
    """
    import cv2

    net = cv2.dnn.readNetFromDarknet(np.frombuffer(cfg.encode(), np.uint8), weights)
    # its fusion of a convolution, a shortcut and an activation computes something else (4.14)
    net.enableFusion(False)
    net.setInput(tensor)
    kinds = re.findall(r"(?m)^\s*\[(\w+)\]", cfg)[1:]
    heads = [i for i, kind in enumerate(kinds) if kind in ("yolo", "region")]
    return net.forward([f"conv_{i - 1}" for i in heads])
