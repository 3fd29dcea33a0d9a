"""The heads of darknet: `[yolo]` and `[region]` sections → `Head`."""

from collections.abc import Callable

import onnx_ir as ir

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.darknet.cfg import Section
from yolo_edge.export.importers.darknet.layers import Network
from yolo_edge.ondevice.spec import Head

_MAX_CLASSES = 100_000


def _stride(net: Network, section: Section, value: ir.Value) -> int:
    """Input pixels a cell.

    Raises:
        InputError: The grid does not tile the input.
    """
    _, _, height, width = shape_of(net.builder.input)
    _, _, rows, columns = shape_of(value)
    if height % rows or width % columns or height // rows != width // columns:
        raise section.error(f"its {columns}x{rows} grid does not tile the {width}x{height} input")
    return width // columns


def _anchors(section: Section, count: int) -> list[tuple[float, float]]:
    numbers = section.numbers("anchors")
    if len(numbers) < 2 * count:
        raise section.error(f"num={count} anchors have {2 * count} numbers, got {len(numbers)}", "anchors")
    return [(numbers[2 * i], numbers[2 * i + 1]) for i in range(count)]


def _finish(net: Network, section: Section, head: Head, classes: int, value: ir.Value) -> None:
    for width, height in head.anchors:
        if width <= 0 or height <= 0:
            raise section.error(f"an anchor has two sides above 0, got {width:g},{height:g}", "anchors")
    filters = len(head.anchors) * (5 + classes)
    if shape_of(value)[1] != filters:
        raise section.error(
            f"{len(head.anchors)} anchors and {classes} classes need {filters} channels "
            f"(anchors x (5 + classes)), the layer before has {shape_of(value)[1]}"
        )
    if net.classes not in (0, classes):
        raise section.error(f"the heads before have {net.classes} classes, this one {classes}", "classes")
    net.classes = classes
    net.heads.append((head, value))


def _yolo(net: Network, section: Section) -> None:
    if section.integer("new_coords", 0):
        raise section.error("is not supported", "new_coords")
    value = net.previous(section)
    total = section.integer("num", 1, 1, 1000)
    mask = section.integers("mask") or list(range(total))
    for number in mask:
        if not 0 <= number < total:
            raise section.error(f"anchor {number} is outside 0..{total - 1}", "mask")
    # a number may stand for more anchors than the mask uses: only those that it names are needed
    anchors = _anchors(section, max(mask) + 1)
    classes = section.integer("classes", 20, 1, _MAX_CLASSES)
    head = Head(
        family="yolo",
        stride=_stride(net, section, value),
        tensors={},
        anchors=tuple(anchors[number] for number in mask),
        scale_xy=section.number("scale_x_y", 1),
    )
    _finish(net, section, head, classes, value)


def _region(net: Network, section: Section) -> None:
    if section.integer("coords", 4) != 4:
        raise section.error("only 4 is supported", "coords")
    for key in ("background", "map", "tree"):
        if section.text(key, "0") != "0":
            raise section.error("is not supported", key)
    value = net.previous(section)
    stride = _stride(net, section, value)
    anchors = _anchors(section, section.integer("num", 1, 1, 1000))
    classes = section.integer("classes", 20, 1, _MAX_CLASSES)
    head = Head(
        family="region",
        stride=stride,
        tensors={},
        # in grid cells here, unlike [yolo]
        anchors=tuple((width * stride, height * stride) for width, height in anchors),
        class_activation="softmax" if section.integer("softmax", 0) else "sigmoid",
    )
    _finish(net, section, head, classes, value)


HEADS: dict[str, Callable[[Network, Section], None]] = {"region": _region, "yolo": _yolo}
