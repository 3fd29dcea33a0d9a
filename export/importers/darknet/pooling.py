"""Layers that change the size of maps: pools, upsample, reorg.

Sizes follow darknet's own arithmetic (src/maxpool_layer.c, upsample_layer.c, reorg_old_layer.c, reorg_layer.c).
"""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Attribute, shape_of
from yolo_edge.export.importers.darknet.building import Network, checked_shape, map_shape, refuse, size_text, strides
from yolo_edge.export.importers.darknet.cfg import Section

_MAX_SCALE = 1e6


def maxpool(net: Network, section: Section) -> ir.Value:
    """`[maxpool]`: windows reach over the edges, where they see nothing."""
    refuse(section, "antialiasing", "maxpool_depth")
    return _pool(net, section, "MaxPool", "maxpool")


def local_avgpool(net: Network, section: Section) -> ir.Value:
    """`[local_avgpool]`: the mean of what a window sees of the map; what lies outside does not count."""
    refuse(section, "antialiasing", "maxpool_depth")
    return _pool(net, section, "AveragePool", "local_avgpool")


def _pool(net: Network, section: Section, op: str, name: str) -> ir.Value:
    x = net.previous(section)
    channels, height, width = map_shape(x)
    stride_y, stride_x = strides(section)
    size = section.integer("size", section.integer("stride", 1, 1), 1, 1024)
    padding = section.integer("padding", size - 1)
    # `padding` is the total of both sides; darknet's windows start at -padding/2
    before = padding // 2
    if before >= size:
        raise section.error(f"{padding} is too much for windows of {size}", "padding")
    out_height = (height + padding - size) // stride_y + 1
    out_width = (width + padding - size) // stride_x + 1
    shape = checked_shape(section, channels, out_height, out_width)
    after_y = max((out_height - 1) * stride_y + size - height - before, 0)
    after_x = max((out_width - 1) * stride_x + size - width - before, 0)
    if max(after_y, after_x) >= size:
        raise section.error(f"windows of {size} would see nothing of the map", "padding")
    attributes: dict[str, Attribute] = {
        "kernel_shape": [size, size],
        "pads": [before, before, after_y, after_x],
        "strides": [stride_y, stride_x],
    }
    return net.builder.node(op, [x], shape, f"{name}_{section.index}", attributes)


def avgpool(net: Network, section: Section) -> ir.Value:
    """`[avgpool]`: the mean of each channel."""
    x = net.previous(section)
    shape = (1, shape_of(x)[1], 1, 1)
    return net.builder.node("GlobalAveragePool", [x], shape, f"avgpool_{section.index}")


def upsample(net: Network, section: Section) -> ir.Value:
    """`[upsample]`: each pixel becomes a square of `stride` pixels, times `scale`."""
    x = net.previous(section)
    channels, height, width = map_shape(x)
    factor = section.integer("stride", 2, 1, 64)
    shape = checked_shape(section, channels, height * factor, width * factor)
    name = f"upsample_{section.index}"
    scales = net.builder.constant(f"{name}.scales", np.array([1, 1, factor, factor], np.float32))
    attributes: dict[str, Attribute] = {
        "coordinate_transformation_mode": "asymmetric",
        "mode": "nearest",
        "nearest_mode": "floor",
    }
    value = net.builder.node("Resize", [x, None, scales], shape, name, attributes)
    scale = section.number("scale", 1)
    if not abs(scale) <= _MAX_SCALE:
        raise section.error(f"expected -{_MAX_SCALE:g}..{_MAX_SCALE:g}, got {scale:g}", "scale")
    if scale == 1:
        return value
    factor_value = net.builder.constant(f"{name}.factor", np.array(scale, np.float32))
    return net.builder.node("Mul", [value, factor_value], shape, f"{name}_scaled")


def reorg(net: Network, section: Section) -> ir.Value:
    """`[reorg]`: darknet's own permutation (`reorg_cpu` called with the sizes of the input).

    It reads the map's memory as if it had stride² fewer channels and were stride times larger each way, and takes that
    apart into its phases. It is not SpaceToDepth, and trained weights depend on it.
    """
    refuse(section, "extra", "flatten", "reverse")
    x, shape, stride = _phases(net, section)
    channels, height, width = map_shape(x)
    if channels % stride**2:
        raise section.error(f"{channels} channels are not divisible by {stride}²", "stride")
    parts = channels // stride**2
    name = f"reorg_{section.index}"
    apart = (1, parts, height, stride, width, stride)
    value = _reshape(net, x, apart, f"{name}_apart")
    moved = (1, stride, stride, parts, height, width)
    value = net.builder.node("Transpose", [value], moved, f"{name}_moved", {"perm": [0, 3, 5, 1, 2, 4]})
    return _reshape(net, value, shape, name)


def reorg3d(net: Network, section: Section) -> ir.Value:
    """`[reorg3d]`: the phases of the map, one after another as channels: SpaceToDepth."""
    refuse(section, "extra", "flatten", "reverse")
    x, shape, stride = _phases(net, section)
    return net.builder.node("SpaceToDepth", [x], shape, f"reorg3d_{section.index}", {"blocksize": stride})


def _phases(net: Network, section: Section) -> tuple[ir.Value, tuple[int, int, int, int], int]:
    """The input of a reorg, the shape of its output, and its stride."""
    x = net.previous(section)
    channels, height, width = map_shape(x)
    stride = section.integer("stride", 1, 1, 64)
    if height % stride or width % stride:
        raise section.error(f"a map of {size_text(x)} does not divide by {stride}", "stride")
    return x, checked_shape(section, channels * stride**2, height // stride, width // stride), stride


def _reshape(net: Network, x: ir.Value, shape: tuple[int, ...], name: str) -> ir.Value:
    sizes = net.builder.constant(f"{name}.shape", np.array(shape, np.int64))
    return net.builder.node("Reshape", [x, sizes], shape, name)
