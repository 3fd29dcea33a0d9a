"""Layers with parameters: convolutions and batch normalization.

Sizes follow darknet's `make_convolutional_layer` (src/convolutional_layer.c), which rounds down.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Attribute, shape_of
from yolo_edge.export.importers.darknet.building import (
    Network,
    activate,
    checked_shape,
    map_shape,
    refuse,
    strides,
)
from yolo_edge.export.importers.darknet.cfg import Section
from yolo_edge.export.importers.darknet.weights import BATCH_NORM_EPSILON

_MAX_WEIGHTS = 1 << 60  # of one layer: numpy counts their bytes in 63 bits, even where none take memory

# binary networks, and experiments that no published detector uses
_REFUSED = (
    "antialiasing", "binary", "cbn", "coordconv", "deform", "flipped", "reverse", "rotate", "stretch",
    "stretch_sway", "sway", "xnor",
)  # fmt: skip


def convolutional(net: Network, section: Section) -> ir.Value:
    """`[convolutional]`, with batch normalization and activation."""
    refuse(section, *_REFUSED)
    x = net.previous(section)
    channels, height, width = map_shape(x)
    filters = section.integer("filters", 1, 1)
    size = section.integer("size", 1, 1, 1024)
    stride_y, stride_x = strides(section)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    dilation = section.integer("dilation", 1, 1, 1024) if size > 1 else 1
    if dilation > 1 and 2 * padding != size - 1:
        raise section.error(f"with a padding of {padding} and windows of {size} is not supported", "dilation")
    groups = section.integer("groups", 1, 1)
    if channels % groups or filters % groups:
        raise section.error(f"{groups} groups do not divide {channels} inputs and {filters} filters", "groups")
    shape = checked_shape(
        section,
        filters,
        (height + 2 * padding - size) // stride_y + 1,
        (width + 2 * padding - size) // stride_x + 1,
    )
    normalized = section.integer("batch_normalize", 0) != 0
    weight_shape = (filters, channels // groups, size, size)
    if math.prod(weight_shape) > _MAX_WEIGHTS:
        raise section.error(f"{filters} filters of {size}x{size}x{channels // groups} are too large")
    parameters = _parameters(net, section, weight_shape, normalized)
    net.parameters[section.index] = parameters
    name = f"conv_{section.index}"
    inputs = [x, net.builder.constant(f"{name}.weight", parameters["weight"])]
    if not normalized:
        inputs.append(net.builder.constant(f"{name}.bias", parameters["bias"]))
    attributes: dict[str, Attribute] = {
        "group": groups,
        "kernel_shape": [size, size],
        "pads": [padding * dilation] * 4,
        "strides": [stride_y, stride_x],
    }
    if dilation > 1:
        attributes["dilations"] = [dilation, dilation]
    value = net.builder.node("Conv", inputs, shape, name, attributes)
    if normalized:
        value = _normalize(net, value, name, parameters)
    return activate(net, section, value, "logistic")


def batchnorm(net: Network, section: Section) -> ir.Value:
    """`[batchnorm]`, with the biases that AlexeyAB's darknet reads and pjreddie's does not."""
    x = net.previous(section)
    parameters = _take(net, section, ("bias", "scale", "mean", "variance"), shape_of(x)[1])
    return activate(net, section, _normalize(net, x, f"batchnorm_{section.index}", parameters), "linear")


def _normalize(net: Network, x: ir.Value, name: str, parameters: Mapping[str, np.ndarray]) -> ir.Value:
    constants = [
        net.builder.constant(f"{name}.{key}", parameters[key]) for key in ("scale", "bias", "mean", "variance")
    ]
    epsilon = {"epsilon": BATCH_NORM_EPSILON}
    return net.builder.node("BatchNormalization", [x, *constants], shape_of(x), f"{name}_norm", epsilon)


def _parameters(
    net: Network, section: Section, weight_shape: Sequence[int], normalized: bool
) -> Mapping[str, np.ndarray]:
    """The parameters in the order of the file (`load_convolutional_weights`), or those that another layer shares.

    Raises:
        InputError: That layer is no convolution, or one of another shape.
    """
    if "share_index" not in section.options:
        vectors = ("bias", "scale", "mean", "variance") if normalized else ("bias",)
        taken = _take(net, section, vectors, weight_shape[0])
        taken["weight"] = net.weights.take(weight_shape, f"layer {section.index} [{section.kind}] weight")
        return taken
    index = section.integer("share_index", 0, -(1 << 20))
    index += section.index if index < 0 else 0
    shared = net.parameters.get(index)
    if shared is None:
        raise section.error(f"layer {index} is not a convolution before this one", "share_index")
    if shared["weight"].shape != tuple(weight_shape) or normalized != ("mean" in shared):
        raise section.error(f"layer {index} is a convolution of another shape", "share_index")
    return shared


def _take(net: Network, section: Section, keys: Sequence[str], size: int) -> dict[str, np.ndarray]:
    where = f"layer {section.index} [{section.kind}]"
    return {key: net.weights.take((size,), f"{where} {key}") for key in keys}
