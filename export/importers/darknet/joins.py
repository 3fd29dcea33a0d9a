"""Layers that bring earlier ones together: route, shortcut, scale_channels, sam."""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.darknet.building import (
    Network,
    activate,
    checked_shape,
    map_shape,
    refuse,
    size_text,
)
from yolo_edge.export.importers.darknet.cfg import Section

# names of darknet's normalizations (`parse_shortcut` in src/parser.c)
_NORMALIZATIONS = {"none": "none", "avg_relu": "relu", "relu": "relu", "softmax": "softmax"}
_MAX_SHOWN, _MAX_WEIGHTS = 4, 1 << 20
_WEIGHTS_EPSILON = 0.0001  # of `shortcut_multilayer_cpu` in src/blas.c


def dropout(net: Network, section: Section) -> ir.Value:
    """`[dropout]` does nothing outside training."""
    return net.previous(section)


def route(net: Network, section: Section) -> ir.Value:
    """`[route]`: several layers, or one of several equal parts of each, as one."""
    inputs = net.relative(section, "layers")
    groups = section.integer("groups", 1, 1)
    group = section.integer("group_id", 0, 0, groups - 1)
    name = f"route_{section.index}"
    if groups > 1:
        inputs = [_slice_group(net, section, value, groups, group, i) for i, value in enumerate(inputs)]
    if len(inputs) == 1:
        return inputs[0]
    first = map_shape(inputs[0])
    if any(map_shape(value)[1:] != first[1:] for value in inputs):
        raise section.error(f"cannot join maps of {_sizes_text(inputs)}", "layers")
    shape = checked_shape(section, sum(map_shape(value)[0] for value in inputs), *first[1:])
    return net.builder.node("Concat", inputs, shape, name, {"axis": 1})


def _slice_group(net: Network, section: Section, value: ir.Value, groups: int, group: int, number: int) -> ir.Value:
    channels = map_shape(value)[0]
    if channels % groups:
        raise section.error(f"{groups} groups do not divide {channels} channels", "groups")
    part = channels // groups
    return _slice_channels(net, value, group * part, (group + 1) * part, f"route_{section.index}.{number}")


def _slice_channels(net: Network, value: ir.Value, start: int, end: int, name: str) -> ir.Value:
    _, height, width = map_shape(value)
    bounds = {"start": start, "end": end, "axis": 1, "step": 1}
    constants = [net.builder.constant(f"{name}.{key}", np.array([bound], np.int64)) for key, bound in bounds.items()]
    return net.builder.node("Slice", [value, *constants], (1, end - start, height, width), name)


def shortcut(net: Network, section: Section) -> ir.Value:
    """`[shortcut]`: the sum of the layer before and others, weighted when the cfg says so.

    As in darknet (`shortcut_multilayer_cpu` in src/blas.c) the sum has the channels of the layer before: a layer with
    fewer is added to the first of them, of one with more only the first count.
    """
    for key in ("alpha", "beta"):  # pjreddie's factors
        if section.number(key, 1) != 1:
            raise section.error("only 1 is supported", key)
    x = net.previous(section)
    others = net.relative(section, "from")
    channels, *size = map_shape(x)
    if any(list(map_shape(other)[1:]) != size for other in others):
        raise section.error(f"cannot add maps of {_sizes_text([x, *others])}", "from")
    factors = _shortcut_factors(net, section, len(others) + 1, channels)
    name = f"shortcut_{section.index}"
    total = _weighted(net, x, factors, 0, name)
    for number, other in enumerate(others, start=1):
        value, label = other, name if number == len(others) else f"{name}.{number}"
        common = min(channels, map_shape(other)[0])
        if map_shape(other)[0] > common:
            value = _slice_channels(net, other, 0, common, f"{name}.first_{number}")
        value = _weighted(net, value, factors, number, name)
        if common == channels:
            total = net.builder.node("Add", [total, value], shape_of(x), label)
            continue
        start = _slice_channels(net, total, 0, common, f"{name}.start_{number}")
        rest = _slice_channels(net, total, common, channels, f"{name}.rest_{number}")
        start = net.builder.node("Add", [start, value], shape_of(start), f"{name}.sum_{number}")
        total = net.builder.node("Concat", [start, rest], shape_of(x), label, {"axis": 1})
    return activate(net, section, total, "linear")


def _shortcut_factors(net: Network, section: Section, inputs: int, channels: int) -> np.ndarray | None:
    """The factor of each input for each channel, float32 [inputs, channels or 1]; None where nothing is weighted.

    Raises:
        InputError: An unknown kind of weights or normalization.
    """
    kind = section.text("weights_type", "none")
    normalization = _NORMALIZATIONS.get(section.text("weights_normalization", "none"))
    if normalization is None:
        raise section.error(f"expected one of {', '.join(_NORMALIZATIONS)}", "weights_normalization")
    if kind == "none":
        return None
    columns = {"per_feature": 1, "per_layer": 1, "per_channel": channels}.get(kind)
    if columns is None:
        raise section.error(f"expected none, per_feature or per_channel, got {kind[:40]!r}", "weights_type")
    if inputs * columns > _MAX_WEIGHTS:
        raise section.error(f"{inputs} inputs of {columns} channels are more than {_MAX_WEIGHTS} weights")
    where = f"layer {section.index} [shortcut] weights"
    weights = net.weights.take((inputs, columns), where).astype(np.float64)
    # they are computed with before the whole file is checked
    if not np.isfinite(weights).all():
        raise section.error("NaN or infinity among its weights; the weights file is damaged")
    if normalization == "relu":
        weights = np.maximum(weights, 0)
    elif normalization == "softmax":
        weights = np.exp(weights - weights.max(axis=0))
    if normalization != "none":
        weights /= _WEIGHTS_EPSILON + weights.sum(axis=0)
    return weights.astype(np.float32)


def _weighted(net: Network, value: ir.Value, factors: np.ndarray | None, number: int, name: str) -> ir.Value:
    if factors is None:
        return value
    channels = map_shape(value)[0]
    row = factors[number][:channels].reshape(1, -1, 1, 1)
    factor = net.builder.constant(f"{name}.weight_{number}", row)
    return net.builder.node("Mul", [value, factor], shape_of(value), f"{name}.weighted_{number}")


def scale_channels(net: Network, section: Section) -> ir.Value:
    """`[scale_channels]`: each channel of another layer times what the layer before gives for it."""
    refuse(section, "scale_wh")
    factors = net.previous(section)
    other = _single(net, section)
    channels = shape_of(other)[1]
    if shape_of(factors) != (1, channels, 1, 1):
        raise section.error(f"scales {size_text(other)} by {size_text(factors)}, expected 1x1x{channels}")
    value = net.builder.node("Mul", [other, factors], shape_of(other), f"scale_channels_{section.index}")
    return activate(net, section, value, "linear")


def sam(net: Network, section: Section) -> ir.Value:
    """`[sam]`: the layer before times another, element by element."""
    x, other = net.previous(section), _single(net, section)
    if shape_of(x) != shape_of(other):
        raise section.error(f"cannot multiply maps of {_sizes_text([x, other])}", "from")
    value = net.builder.node("Mul", [other, x], shape_of(x), f"sam_{section.index}")
    return activate(net, section, value, "linear")


def _single(net: Network, section: Section) -> ir.Value:
    others = net.relative(section, "from")
    if len(others) != 1:
        raise section.error("names one layer", "from")
    return others[0]


def _sizes_text(values: list[ir.Value]) -> str:
    different = list(dict.fromkeys(size_text(value) for value in values))
    return " and ".join(different[:_MAX_SHOWN]) + (" and others" if len(different) > _MAX_SHOWN else "")
