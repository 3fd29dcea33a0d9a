"""A darknet network while it is built, and what its layers have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Attribute, GraphBuilder, shape_of
from yolo_edge.export.importers.darknet.cfg import Section
from yolo_edge.export.importers.darknet.weights import WeightSource
from yolo_edge.ondevice.spec import Head

_MAX_INPUTS = 64  # of one layer: published networks join up to a dozen
_MAX_MAP = 1 << 31  # elements of one feature map: 8 GiB, beyond any edge device


@dataclass
class Network:
    """A darknet network while it is built.

    Attributes:
        builder: The graph so far.
        weights: Where parameters come from.
        outputs: Of each layer; None for heads and losses, which nothing can use.
        parameters: Of each convolution, by its layer number, for those that share them.
        heads: With the map that each reads.
        names: Class names that came with the network, or none.
        classes: Their number; 0 before the first head.
    """

    builder: GraphBuilder
    weights: WeightSource
    outputs: list[ir.Value | None] = field(default_factory=list)
    parameters: dict[int, Mapping[str, np.ndarray]] = field(default_factory=dict)
    heads: list[tuple[Head, ir.Value]] = field(default_factory=list)
    names: tuple[str, ...] = ()
    classes: int = 0

    def previous(self, section: Section) -> ir.Value:
        """The output of the layer before `section`; the picture for the first layer."""
        return self.output(section, section.index - 1) if section.index else self.builder.input

    def output(self, section: Section, index: int, key: str | None = None) -> ir.Value:
        """The output of layer `index`, which must come before `section`.

        Raises:
            InputError: It does not, or has no output.
        """
        if not 0 <= index < section.index:
            raise section.error(f"layer {index} is not before this one", key)
        value = self.outputs[index]
        if value is None:
            raise section.error(f"layer {index} has no output that could be used", key)
        return value

    def relative(self, section: Section, key: str) -> list[ir.Value]:
        """The outputs that `key` lists: layer numbers, or counted back from here when below 0.

        Raises:
            InputError: There is none, or one that does not come before.
        """
        indices = section.integers(key)
        if not indices:
            raise section.error("names no layer", key)
        if len(indices) > _MAX_INPUTS:
            raise section.error(f"names {len(indices)} layers, more than {_MAX_INPUTS}", key)
        return [self.output(section, i if i >= 0 else section.index + i, key) for i in indices]


def map_shape(value: ir.Value) -> tuple[int, int, int]:
    """Channels, height and width of a feature map."""
    _, channels, height, width = shape_of(value)
    return channels, height, width


def size_text(value: ir.Value) -> str:
    """A map's size as darknet prints it: width x height x channels."""
    channels, height, width = map_shape(value)
    return f"{width}x{height}x{channels}"


def checked_shape(section: Section, channels: int, height: int, width: int) -> tuple[int, int, int, int]:
    """The shape of a layer's output.

    Raises:
        InputError: Nothing is left of it, or it is absurdly large.
    """
    if height < 1 or width < 1:
        raise section.error(f"its output would be {width}x{height}: the network's input is too small")
    if channels * height * width > _MAX_MAP:
        raise section.error(f"its output would be {width}x{height}x{channels}: too large")
    return (1, channels, height, width)


def refuse(section: Section, *keys: str) -> None:
    """Refuse keys that would change what the layer computes, when they are set to anything but 0.

    Raises:
        InputError: One of them is.
    """
    for key in keys:
        if section.text(key, "0") != "0":
            raise section.error("is not supported", key)


_ACTIVATIONS: dict[str, tuple[str, dict[str, Attribute]]] = {
    "leaky": ("LeakyRelu", {"alpha": 0.1}),
    "logistic": ("Sigmoid", {}),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
    "relu6": ("Clip", {}),
    "swish": ("SiLU", {}),
}


def activate(net: Network, section: Section, value: ir.Value, default: str) -> ir.Value:
    """Add the section's activation.

    Raises:
        InputError: It is not one of those that are supported.
    """
    kind = section.text("activation", default)
    if kind == "linear":
        return value
    if kind not in _ACTIVATIONS:
        known = ", ".join(sorted([*_ACTIVATIONS, "linear"]))
        raise section.error(f"{kind[:40]!r} is not supported; there are {known}", "activation")
    op, attributes = _ACTIVATIONS[kind]
    name = f"{kind}_{section.index}"
    bounds = []
    if op == "Clip":
        bounds = [
            net.builder.constant(f"{name}.low", np.array(0, np.float32)),
            net.builder.constant(f"{name}.high", np.array(6, np.float32)),
        ]
    return net.builder.node(op, [value, *bounds], shape_of(value), name, attributes)


def strides(section: Section, default: int = 1) -> tuple[int, int]:
    """Vertical and horizontal stride: `stride_y`, `stride_x`, or `stride` for those that are not stated."""
    both = section.integer("stride", default, 1)
    vertical, horizontal = (section.integer(key, -1, -1) for key in ("stride_y", "stride_x"))
    return (vertical if vertical > 0 else both), (horizontal if horizontal > 0 else both)
