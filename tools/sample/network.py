"""The sample's network: written as a darknet cfg, and built in PyTorch from that same text."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from yolo_edge.export.importers.darknet.cfg import Section, read_cfg
from yolo_edge.export.importers.darknet.weights import BATCH_NORM_EPSILON
from yolo_edge.sample import CLASSES

SIZE = 320
SCALE_X_Y = 2.0  # a centre may lie half a cell outside: neighbouring cells find it too (Scaled-YOLOv4)
PER_HEAD = 3


class _Writer:
    """A cfg, section by section; knows the channels of each layer, which blocks need."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.channels: list[int] = []

    def section(self, kind: str, channels: int, **options: object) -> int:
        self.text.append(f"[{kind}]\n" + "".join(f"{key}={value}\n" for key, value in options.items()))
        self.channels.append(channels)
        return len(self.channels) - 1

    def conv(
        self, filters: int, size: int = 1, stride: int = 1, *, active: bool = True, depthwise: bool = False
    ) -> int:
        options: dict[str, object] = {
            "batch_normalize": 1,
            "filters": filters,
            "size": size,
            "stride": stride,
            "pad": 1,
        }
        if depthwise:
            options["groups"] = filters
        return self.section("convolutional", filters, **options, activation="leaky" if active else "linear")

    def block(self, filters: int, inner: int, stride: int = 1, size: int = 3) -> int:
        """An inverted bottleneck (MobileNetV2), with a shortcut where shapes allow it."""
        before = self.channels[-1]
        self.conv(inner)
        self.conv(inner, size, stride, depthwise=True)
        last = self.conv(filters, active=False)
        if stride == 1 and before == filters:
            last = self.section("shortcut", filters, **{"from": -4}, activation="linear")
        return last

    def head(self, filters: int, anchors: str, mask: str) -> None:
        self.conv(filters, 5, depthwise=True)
        self.conv(filters)
        outputs = PER_HEAD * (5 + len(CLASSES))
        self.section("convolutional", outputs, filters=outputs, size=1, stride=1, pad=1, activation="linear")
        self.section(
            "yolo",
            0,
            mask=mask,
            anchors=anchors,
            classes=len(CLASSES),
            num=2 * PER_HEAD,
            scale_x_y=SCALE_X_Y,
            ignore_thresh=0.6,
        )


def cfg_text(anchors: Sequence[Sequence[float]]) -> str:
    """The cfg of the network with these six anchors, in pixels at 320, by area."""
    listed = ",  ".join(f"{w:.1f},{h:.1f}" for w, h in anchors)
    net = _Writer()
    net.conv(16, 3, 2)
    net.conv(16, 3, 2, depthwise=True)
    net.conv(16, active=False)
    net.block(16, 48)
    net.block(32, 64, 2)
    net.block(32, 112)
    net.block(32, 112)
    net.block(48, 120, 2)
    net.block(48, 144)
    net.block(48, 144)
    fine = net.block(48, 144)
    net.block(88, 168, 2)
    net.block(88, 192, size=5)
    net.block(88, 192, size=5)
    coarse = net.conv(80)
    net.head(80, listed, "3,4,5")
    net.section("route", 80, layers=coarse)
    net.conv(48)
    net.section("upsample", 48, stride=2)
    net.section("route", 96, layers=f"-1,{fine}")
    net.conv(64)
    net.head(64, listed, "0,1,2")
    head = f"[net]\nbatch=1\nwidth={SIZE}\nheight={SIZE}\nchannels=3\n"
    note = "# Finds QR codes, ArUco and AprilTag markers and bar codes. Made by tools/train_sample.py of yolo-edge.\n"
    return note + "\n".join([head, *net.text])


class Network(nn.Module):
    """A cfg of convolutional, shortcut, route, upsample and yolo sections; gives the maps that the `[yolo]`s take."""

    def __init__(self, cfg: Path) -> None:
        super().__init__()
        _, *self.sections = read_cfg(cfg)
        self.layers = nn.ModuleList()
        channels: list[int] = []
        for section in self.sections:
            layer, made = _layer(section, channels)
            self.layers.append(layer)
            channels.append(made)
            if section.kind == "yolo":
                self._expect_little(self.layers[-2][0].bias)

    @staticmethod
    def _expect_little(bias: Tensor) -> None:
        """Objects are rare: starting from that spares the first hundreds of steps (focal loss, section 4.1)."""
        with torch.no_grad():
            bias.view(PER_HEAD, -1)[:, 4] = -4.5

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures [n,3,h,w], RGB 0..1 → maps [n,anchors (5 + classes),gy,gx], in the order of the cfg."""
        kept: list[Tensor] = []
        maps: list[Tensor] = []
        value = pictures
        for section, layer in zip(self.sections, self.layers, strict=True):
            if section.kind == "yolo":
                maps.append(value)
            elif section.kind == "shortcut":
                value = value + kept[section.integer("from", 0, -1000)]
            elif section.kind == "route":
                value = torch.cat([kept[place] for place in section.integers("layers")], 1)
            else:
                value = layer(value)
            kept.append(value)
        return maps

    def convolutions(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
        """Each convolution with its normalisation, in the order of the cfg."""
        for layer in self.layers:
            if isinstance(layer, nn.Sequential):
                norm = layer[1] if isinstance(layer[1], nn.BatchNorm2d) else None
                yield layer[0], norm

    def anchors(self) -> list[list[tuple[float, float]]]:
        """Of each head, in pixels of the input."""
        heads = []
        for section in self.sections:
            if section.kind == "yolo":
                numbers = section.numbers("anchors")
                pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
                heads.append([pairs[place] for place in section.integers("mask")])
        return heads


def _layer(section: Section, channels: list[int]) -> tuple[nn.Module, int]:
    """The module of a section, and how many channels come out of it."""
    before = channels[-1] if channels else 3
    if section.kind == "convolutional":
        filters, size = section.integer("filters", 1), section.integer("size", 1)
        normalised = bool(section.integer("batch_normalize", 0))
        convolution = nn.Conv2d(
            before,
            filters,
            size,
            section.integer("stride", 1),
            size // 2,
            groups=section.integer("groups", 1),
            bias=not normalised,
        )
        norm = nn.BatchNorm2d(filters, eps=1e-5, momentum=0.03) if normalised else nn.Identity()
        leaky = section.text("activation", "") == "leaky"
        return nn.Sequential(convolution, norm, nn.LeakyReLU(0.1, inplace=True) if leaky else nn.Identity()), filters
    if section.kind == "upsample":
        return nn.Upsample(scale_factor=2), before
    if section.kind == "route":
        return nn.Identity(), sum(channels[place] for place in section.integers("layers"))
    return nn.Identity(), before


def write_weights(network: Network, path: Path, seen: int) -> None:
    """Write the parameters as darknet does: biases, scales, means, variances, weights of one layer after another."""
    parts: list[np.ndarray] = []
    for convolution, norm in network.convolutions():
        if norm is None:
            parts.append(_floats(convolution.bias))
        else:
            deviation = torch.sqrt(torch.as_tensor(norm.running_var).double() + norm.eps) - BATCH_NORM_EPSILON
            parts += [_floats(norm.bias), _floats(norm.weight), _floats(norm.running_mean), _floats(deviation**2)]
        parts.append(_floats(convolution.weight))
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([seen], "<i8").tobytes()
    path.write_bytes(header + np.concatenate(parts).astype("<f4").tobytes())


def _floats(values: Tensor | None) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy().astype(np.float32).ravel()
