"""The layers of darknet: section → nodes, one small function a section.

Sizes follow darknet's own arithmetic (the `make_*_layer` function of each, in src/), which rounds down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Attribute, GraphBuilder, shape_of
from yolo_edge.export.importers.darknet.cfg import Section
from yolo_edge.export.importers.darknet.weights import BATCH_NORM_EPSILON, WeightSource
from yolo_edge.ondevice.spec import Head

_MAX_MAP = 1 << 31  # elements of one feature map: 8 GiB, beyond any edge device


@dataclass
class Network:
    """A darknet network while it is built.

    Attributes:
        builder: The graph so far.
        weights: Where parameters come from.
        outputs: Of each layer; None for heads, which nothing can use.
        heads: With the map that each reads.
    """

    builder: GraphBuilder
    weights: WeightSource
    outputs: list[ir.Value | None] = field(default_factory=list)
    heads: list[tuple[Head, ir.Value]] = field(default_factory=list)
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
            raise section.error(f"layer {index} is a head; its output cannot be used", key)
        return value

    def relative(self, section: Section, key: str) -> list[ir.Value]:
        """The outputs that `key` lists: layer numbers, or counted back from here when below 0.

        Raises:
            InputError: There is none, or one that does not come before.
        """
        indices = section.integers(key)
        if not indices:
            raise section.error("names no layer", key)
        return [self.output(section, i if i >= 0 else section.index + i, key) for i in indices]


def _map_shape(value: ir.Value) -> tuple[int, int, int]:
    _, channels, height, width = shape_of(value)
    return channels, height, width


def _size_text(value: ir.Value) -> str:
    channels, height, width = _map_shape(value)
    return f"{width}x{height}x{channels}"


def _check_map(section: Section, channels: int, height: int, width: int) -> tuple[int, int, int, int]:
    if height < 1 or width < 1:
        raise section.error(f"its output would be {width}x{height}: the network's input is too small")
    if channels * height * width > _MAX_MAP:
        raise section.error(f"its output would be {width}x{height}x{channels}: too large")
    return (1, channels, height, width)


def _refuse(section: Section, *keys: str) -> None:
    """Refuse keys that would change what the layer computes, when they are set to anything but 0."""
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


def _activate(net: Network, section: Section, value: ir.Value, default: str) -> ir.Value:
    kind = section.text("activation", default)
    if kind == "linear":
        return value
    if kind not in _ACTIVATIONS:
        known = ", ".join(sorted([*_ACTIVATIONS, "linear"]))
        raise section.error(f"{kind!r} is not supported; there are {known}", "activation")
    op, attributes = _ACTIVATIONS[kind]
    name = f"{kind}_{section.index}"
    bounds = []
    if op == "Clip":
        bounds = [
            net.builder.constant(f"{name}.low", np.array(0, np.float32)),
            net.builder.constant(f"{name}.high", np.array(6, np.float32)),
        ]
    return net.builder.node(op, [value, *bounds], shape_of(value), name, attributes)


def _convolutional(net: Network, section: Section) -> ir.Value:
    _refuse(section, "antialiasing", "assisted_excitation", "binary", "deform", "flipped", "rotate", "share_index")
    _refuse(section, "stretch", "stretch_sway", "sway", "xnor", "share_layer")
    if section.integer("dilation", 1, 1) != 1:
        raise section.error("is not supported", "dilation")
    x = net.previous(section)
    channels, height, width = _map_shape(x)
    filters = section.integer("filters", 1, 1)
    size = section.integer("size", 1, 1, 1024)
    stride = section.integer("stride", 1, 1)
    stride_x = section.integer("stride_x", stride, 1)
    stride_y = section.integer("stride_y", stride, 1)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    groups = section.integer("groups", 1, 1)
    if channels % groups or filters % groups:
        raise section.error(f"{groups} groups do not divide {channels} inputs and {filters} filters", "groups")
    shape = _check_map(
        section,
        filters,
        (height + 2 * padding - size) // stride_y + 1,
        (width + 2 * padding - size) // stride_x + 1,
    )
    normalized = section.integer("batch_normalize", 0) != 0
    weight_shape = (filters, channels // groups, size, size)
    parameters = _take_convolution(net, section, weight_shape, normalized)
    name = f"conv_{section.index}"
    inputs = [x, net.builder.constant(f"{name}.weight", parameters["weight"])]
    if not normalized:
        inputs.append(net.builder.constant(f"{name}.bias", parameters["bias"]))
    attributes: dict[str, Attribute] = {
        "group": groups,
        "kernel_shape": [size, size],
        "pads": [padding] * 4,
        "strides": [stride_y, stride_x],
    }
    value = net.builder.node("Conv", inputs, shape, name, attributes)
    if normalized:
        constants = [
            net.builder.constant(f"{name}.{key}", parameters[key]) for key in ("scale", "bias", "mean", "variance")
        ]
        epsilon = {"epsilon": BATCH_NORM_EPSILON}
        value = net.builder.node("BatchNormalization", [value, *constants], shape, f"{name}_norm", epsilon)
    return _activate(net, section, value, "logistic")


def _take_convolution(
    net: Network, section: Section, weight_shape: Sequence[int], normalized: bool
) -> dict[str, np.ndarray]:
    """The parameters in the order of the file (`load_convolutional_weights`)."""
    vectors = ["bias", "scale", "mean", "variance"] if normalized else ["bias"]
    where = f"layer {section.index} [{section.kind}]"
    taken = {key: net.weights.take(weight_shape[:1], f"{where} {key}") for key in vectors}
    taken["weight"] = net.weights.take(weight_shape, f"{where} weight")
    return taken


def _maxpool(net: Network, section: Section) -> ir.Value:
    _refuse(section, "antialiasing", "maxpool_depth")
    x = net.previous(section)
    channels, height, width = _map_shape(x)
    stride = section.integer("stride", 1, 1)
    stride_x = section.integer("stride_x", stride, 1)
    stride_y = section.integer("stride_y", stride, 1)
    size = section.integer("size", stride, 1, 1024)
    padding = section.integer("padding", size - 1)
    # `padding` is the total of both sides; darknet's windows start at -padding/2
    before = padding // 2
    if before >= size:
        raise section.error(f"{padding} is too much for windows of {size}", "padding")
    out_height = (height + padding - size) // stride_y + 1
    out_width = (width + padding - size) // stride_x + 1
    shape = _check_map(section, channels, out_height, out_width)
    after_y = max((out_height - 1) * stride_y + size - height - before, 0)
    after_x = max((out_width - 1) * stride_x + size - width - before, 0)
    attributes: dict[str, Attribute] = {
        "kernel_shape": [size, size],
        "pads": [before, before, after_y, after_x],
        "strides": [stride_y, stride_x],
    }
    return net.builder.node("MaxPool", [x], shape, f"maxpool_{section.index}", attributes)


def _avgpool(net: Network, section: Section) -> ir.Value:
    x = net.previous(section)
    shape = (1, shape_of(x)[1], 1, 1)
    return net.builder.node("GlobalAveragePool", [x], shape, f"avgpool_{section.index}")


def _upsample(net: Network, section: Section) -> ir.Value:
    x = net.previous(section)
    channels, height, width = _map_shape(x)
    factor = section.integer("stride", 2, 1, 64)
    if section.number("scale", 1) != 1:
        raise section.error("only 1 is supported", "scale")
    shape = _check_map(section, channels, height * factor, width * factor)
    name = f"upsample_{section.index}"
    scales = net.builder.constant(f"{name}.scales", np.array([1, 1, factor, factor], np.float32))
    attributes: dict[str, Attribute] = {
        "coordinate_transformation_mode": "asymmetric",
        "mode": "nearest",
        "nearest_mode": "floor",
    }
    return net.builder.node("Resize", [x, None, scales], shape, name, attributes)


def _route(net: Network, section: Section) -> ir.Value:
    inputs = net.relative(section, "layers")
    groups = section.integer("groups", 1, 1)
    group = section.integer("group_id", 0, 0, groups - 1)
    name = f"route_{section.index}"
    if groups > 1:
        inputs = [_slice_group(net, section, value, groups, group, i) for i, value in enumerate(inputs)]
    if len(inputs) == 1:
        return inputs[0]
    first = _map_shape(inputs[0])
    if any(_map_shape(value)[1:] != first[1:] for value in inputs):
        sizes = " and ".join(_size_text(value) for value in inputs)
        raise section.error(f"cannot join maps of {sizes}", "layers")
    shape = _check_map(section, sum(_map_shape(value)[0] for value in inputs), *first[1:])
    return net.builder.node("Concat", inputs, shape, name, {"axis": 1})


def _slice_group(net: Network, section: Section, value: ir.Value, groups: int, group: int, number: int) -> ir.Value:
    channels, height, width = _map_shape(value)
    if channels % groups:
        raise section.error(f"{groups} groups do not divide {channels} channels", "groups")
    part = channels // groups
    name = f"route_{section.index}.{number}"
    bounds = {"start": group * part, "end": (group + 1) * part, "axis": 1, "step": 1}
    constants = [net.builder.constant(f"{name}.{key}", np.array([bound], np.int64)) for key, bound in bounds.items()]
    return net.builder.node("Slice", [value, *constants], (1, part, height, width), name)


def _shortcut(net: Network, section: Section) -> ir.Value:
    if section.text("weights_type", "none") != "none":
        raise section.error("is not supported", "weights_type")
    x = net.previous(section)
    others = net.relative(section, "from")
    if len(others) > 1:
        raise section.error("several layers are not supported", "from")
    if shape_of(others[0]) != shape_of(x):
        raise section.error(
            f"adding maps of different sizes ({_size_text(x)} and {_size_text(others[0])}) is not supported",
            "from",
        )
    value = net.builder.node("Add", [x, others[0]], shape_of(x), f"shortcut_{section.index}")
    return _activate(net, section, value, "linear")


def _scale_channels(net: Network, section: Section) -> ir.Value:
    _refuse(section, "scale_wh")
    factors = net.previous(section)
    others = net.relative(section, "from")
    if len(others) > 1:
        raise section.error("names one layer", "from")
    channels = shape_of(others[0])[1]
    if shape_of(factors) != (1, channels, 1, 1):
        raise section.error(f"scales {_size_text(others[0])} by {_size_text(factors)}, expected 1x1x{channels}")
    name = f"scale_channels_{section.index}"
    value = net.builder.node("Mul", [others[0], factors], shape_of(others[0]), name)
    return _activate(net, section, value, "linear")


def _dropout(net: Network, section: Section) -> ir.Value:
    return net.previous(section)


LAYERS: dict[str, Callable[[Network, Section], ir.Value]] = {
    "avgpool": _avgpool,
    "convolutional": _convolutional,
    "dropout": _dropout,
    "maxpool": _maxpool,
    "route": _route,
    "scale_channels": _scale_channels,
    "shortcut": _shortcut,
    "upsample": _upsample,
}
