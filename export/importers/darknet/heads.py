"""The heads of darknet: `[yolo]`, `[Gaussian_yolo]` and `[region]` sections → `Head`."""

from collections.abc import Callable

import onnx_ir as ir

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.darknet.building import Network, refuse
from yolo_edge.export.importers.darknet.cfg import Section
from yolo_edge.export.importers.darknet.tree import MAX_CLASSES, read_map, read_tree
from yolo_edge.ondevice.decode import entries_before_classes
from yolo_edge.ondevice.spec import Head

_MAX_ANCHORS, _MAX_ANCHOR = 1000, 1e6


def _yolo(net: Network, section: Section) -> None:
    value = net.previous(section)
    family = "yolo"
    if section.integer("new_coords", 0):
        # these heads read what a logistic activation made of the map (`forward_yolo_layer`); the raw map is before it
        family, producer = "yolov5", value.producer()
        if producer is None or producer.op_type != "Sigmoid" or producer.inputs[0] is None:
            raise section.error("needs activation=logistic in the layer before", "new_coords")
        value = producer.inputs[0]
    _masked(net, section, value, family)


def _gaussian_yolo(net: Network, section: Section) -> None:
    if section.text("yolo_point", "center") != "center":
        raise section.error("only center is supported", "yolo_point")
    _masked(net, section, net.previous(section), "gaussian_yolo")


def _masked(net: Network, section: Section, value: ir.Value, family: str) -> None:
    """A head that uses some of the network's anchors, in pixels."""
    mask = section.integers("mask") or list(range(section.integer("num", 1, 1, _MAX_ANCHORS)))
    if not all(0 <= number < _MAX_ANCHORS for number in mask):
        raise section.error(f"expected anchors 0..{_MAX_ANCHORS - 1}", "mask")
    # `num` is not asked: released cfgs list more anchors than it says, and use them
    anchors = _anchors(section, max(mask) + 1)
    head = Head(
        family=family,
        stride=_stride(net, section, value),
        tensors={},
        anchors=tuple(anchors[number] for number in mask),
        scale_xy=section.number("scale_x_y", 1),
    )
    _finish(net, section, head, section.integer("classes", 20, 1, MAX_CLASSES), value)


def _region(net: Network, section: Section) -> None:
    if section.integer("coords", 4) != 4:
        raise section.error("only 4 is supported", "coords")
    refuse(section, "background")
    value = net.previous(section)
    stride = _stride(net, section, value)
    anchors = _anchors(section, section.integer("num", 1, 1, _MAX_ANCHORS))
    classes = section.integer("classes", 20, 1, MAX_CLASSES)
    tree, names = read_tree(section, classes) if section.text("tree", "0") != "0" else ((), ())
    tree_map = read_map(section, len(tree)) if tree and section.text("map", "0") != "0" else ()
    if tree:
        net.names = tuple(names[node] for node in tree_map) or names
    head = Head(
        family="region",
        stride=stride,
        tensors={},
        # in grid cells here, unlike [yolo]
        anchors=tuple((width * stride, height * stride) for width, height in anchors),
        class_activation="softmax" if section.integer("softmax", 0) else "sigmoid",
        tree=tree,
        tree_map=tree_map,
    )
    _finish(net, section, head, classes, value)


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
        raise section.error(f"{count} anchors have {2 * count} numbers, got {len(numbers)}", "anchors")
    return [(numbers[2 * i], numbers[2 * i + 1]) for i in range(count)]


def _finish(net: Network, section: Section, head: Head, classes: int, value: ir.Value) -> None:
    for width, height in head.anchors:
        if not 0 < width <= _MAX_ANCHOR or not 0 < height <= _MAX_ANCHOR:
            problem = f"an anchor has two sides above 0, up to {_MAX_ANCHOR:g}, got {width:g},{height:g}"
            raise section.error(problem, "anchors")
    if not 0 < head.scale_xy <= 100:
        raise section.error(f"expected a number above 0, up to 100, got {head.scale_xy:g}", "scale_x_y")
    entries = entries_before_classes(head.family)
    channels = len(head.anchors) * (entries + classes)
    if shape_of(value)[1] != channels:
        raise section.error(
            f"{len(head.anchors)} anchors and {classes} classes need {channels} channels "
            f"(anchors x ({entries} + classes)), the layer before has {shape_of(value)[1]}"
        )
    if net.classes not in (0, classes):
        raise section.error(f"the heads before have {net.classes} classes, this one {classes}", "classes")
    net.classes = classes
    net.heads.append((head, value))


HEADS: dict[str, Callable[[Network, Section], None]] = {
    "Gaussian_yolo": _gaussian_yolo,
    "region": _region,
    "yolo": _yolo,
}
