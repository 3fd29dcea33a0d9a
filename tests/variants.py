"""Variants of detectors as exporters write them, each with what it is: for fuzzing the recogniser.

`make_variant(seed, number)` always gives the same one. The suite takes some dozens, `tools/fuzz_recognizer.py` as many
as it is told to.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.export import foreign
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.ondevice.errors import InputError

V2_ANCHORS = [(10.0, 13.0), (16.0, 30.0), (62.0, 45.0), (59.0, 119.0)]
THREE, TWO, FOUR = (8, 16, 32), (16, 32), (8, 16, 32, 64)


@dataclass
class Variant:
    """One file and what it is.

    Attributes:
        label: How it was made.
        model: The file.
        family: Of its heads; empty: it must be refused.
        strides: Of its heads.
        classes: How many.
        anchors: Of all levels, from fine to coarse.
        given: Anchors to say.
        one_to_one: It needs no NMS.
        message: Part of the refusal.
    """

    label: str
    model: onnx.ModelProto
    family: str
    strides: tuple[int, ...]
    classes: int
    anchors: list[tuple[float, float]] = field(default_factory=list)
    given: list[tuple[float, float]] = field(default_factory=list)
    one_to_one: bool = False
    message: str = ""


def make_variant(seed: int, number: int) -> Variant:
    """The variant of a number."""
    draw = random.Random(f"{seed}.{number}")  # noqa: S311 - no secrets
    made = draw.choice(_MAKERS)(draw)
    for rewrite in draw.sample(_REWRITINGS, draw.randint(0, 3)):
        rewrite(made.model, draw)
        made.label += f" {rewrite.__name__.strip('_')}"
    if made.family and draw.random() < 0.15 and (damage := _damage(made.model, draw)):
        made.label += f" {damage}"
        made.family, made.message = "", "not a detector of a family that is known"
    return made


def check_variant(variant: Variant, folder: Path) -> str:
    """Whether it is recognised, or refused, as it should be: "recognised", "refused", or what is wrong."""
    path = folder / "variant.onnx"
    onnx.save(variant.model, path)
    try:
        spec = import_onnx(path, anchors=variant.given).spec
    except InputError as error:
        if variant.family:
            return f"WRONG: refused: {error}"
        return "refused" if variant.message in str(error) else f"WRONG: refused for another reason: {error}"
    found = (
        {head.family for head in spec.heads},
        tuple(head.stride for head in spec.heads),
        len(spec.names),
        {head.one_to_one for head in spec.heads},
    )
    if not variant.family:
        return f"WRONG: should be refused, is taken for {found}"
    if found != ({variant.family}, variant.strides, variant.classes, {variant.one_to_one}):
        return f"WRONG: misread as {found}"
    anchors = [anchor for head in spec.heads for anchor in head.anchors]
    if len(anchors) != len(variant.anchors) or not np.allclose(anchors, variant.anchors, rtol=1e-3):
        return f"WRONG: anchors {anchors}"
    return "recognised"


def _common(draw: random.Random, opsets: tuple[int, ...]) -> dict[str, Any]:
    return {
        "opset": draw.choice(opsets),
        "classes": draw.choice((1, 2, 3, 7, 20, 80)),
        "seed": draw.randrange(1000),
        "sigmoid": draw.choice(("fused", "split")),
    }


def _yolov5(draw: random.Random) -> Variant:
    options = _common(draw, (11, 12, 13, 17, 18, 20))
    form = draw.choice(("decoded", "corners", "nms", "raw", "plugin"))
    model = foreign.yolov5(form=form, implicit=draw.random() < 0.3, constants=draw.random() < 0.5, **options)
    made = Variant(f"yolov5 {form} {options}", model, "yolov5", THREE, options["classes"])
    made.anchors = [(float(w), float(h)) for level in foreign.ANCHORS for w, h in level]
    if form == "raw":
        made.family, made.message = "", "neither which anchors nor how they are meant"
    return made


def _distances(draw: random.Random) -> Variant:
    options = _common(draw, (13, 17, 18, 20, 22))
    bins = draw.choice((1, 8, 16, 17))
    form = draw.choice(("decoded", "corners", "separate", "nms", "raw", "once"))
    sums = draw.choice(("conv", "matmul"))
    ones = form == "decoded" and draw.random() < 0.5
    scaled = form == "separate" and draw.random() < 0.5
    model = foreign.yolov8(
        bins=bins,
        form=form,
        sums=sums,
        ones=ones,
        scaled=scaled,
        attention=draw.random() < 0.2,
        constants=draw.random() < 0.5,
        **options,
    )
    label = f"distances {form} {bins} {sums} {ones} {scaled} {options}"
    made = Variant(label, model, "ltrb" if bins == 1 else "dfl", THREE, options["classes"])
    made.one_to_one = form == "once"
    if form == "raw" and bins == 1:
        made.family, made.message = "", "not a detector of a family that is known"
    return made


def _yolox(draw: random.Random) -> Variant:
    options = _common(draw, (11, 13, 17, 22))
    del options["sigmoid"]
    form = draw.choice(("offsets", "decoded", "nms", "raw"))
    model = foreign.yolox(form=form, constants=draw.random() < 0.5, **options)
    return Variant(f"yolox {form} {options}", model, "yolox", THREE, options["classes"])


def _nanodet(draw: random.Random) -> Variant:
    options = _common(draw, (11, 12, 13, 17))
    plus, form, kind = draw.random() < 0.5, draw.choice(("lists", "rows")), draw.choice(("split", "gather"))
    model = foreign.nanodet(plus=plus, form=form, kind=kind, **options)
    family, strides = ("nanodet_plus", FOUR) if plus else ("dfl", THREE)
    return Variant(f"nanodet {form} {kind} {options}", model, family, strides, options["classes"])


def _fastestdet(draw: random.Random) -> Variant:
    options = _common(draw, (11, 12, 13, 17))
    squash, kind = draw.random() < 0.7, draw.choice(("split", "gather"))
    model = foreign.fastestdet(squash=squash, kind=kind, **options)
    made = Variant(f"fastestdet {squash} {kind} {options}", model, "fastestdet", (16,), options["classes"])
    if not squash:
        made.family, made.message = "", "not a detector of a family that is known"
    return made


def _fastestv2(draw: random.Random) -> Variant:
    options = _common(draw, (11, 12, 13, 17))
    del options["sigmoid"]
    form, kind = draw.choice(("raw", "joined")), draw.choice(("split", "gather"))
    model = foreign.fastestv2(form=form, kind=kind, **options)
    made = Variant(f"fastestv2 {form} {kind} {options}", model, "yolo_fastestv2", TWO, options["classes"])
    made.anchors = made.given = V2_ANCHORS
    if form == "raw" and options["classes"] == 2:  # as many as anchors: which map is which cannot be told
        made.family, made.message = "", "not a detector of a family that is known"
        return made
    if draw.random() < 0.3:
        made.given, made.family, made.message = [], "", "the file does not hold them. Say them with --anchors"
    return made


_MAKERS: list[Callable[[random.Random], Variant]] = [_yolov5, _distances, _yolox, _nanodet, _fastestdet, _fastestv2]


def _rename(model: onnx.ModelProto, draw: random.Random) -> None:
    """Every value gets a name of digits, every node none."""
    kept = {value.name for value in [*model.graph.input, *model.graph.output]}
    names: dict[str, str] = {"": ""}
    for node in model.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            for i, name in enumerate(side):
                side[i] = name if name in kept else names.setdefault(name, str(10_000 + 7 * len(names)))
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for value in model.graph.value_info:
        value.name = names.get(value.name, value.name)


def _identities(model: onnx.ModelProto, draw: random.Random) -> None:
    """Identity and Dropout nodes in some edges, as old exporters leave them."""
    nodes = []
    for number, node in enumerate(model.graph.node):
        nodes.append(node)
        if draw.random() < 0.1 and len(node.output) == 1 and node.op_type not in ("Constant", "Cast"):
            given = node.output[0]
            if any(given == value.name for value in model.graph.output):
                continue
            node.output[0] = f"{given}_before{number}"
            nodes.append(helper.make_node("Identity", [node.output[0]], [given]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]


def _weights_as_inputs(model: onnx.ModelProto, draw: random.Random) -> None:
    """Initializers listed among the inputs, as files of IR 3 have them."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def _no_shapes(model: onnx.ModelProto, draw: random.Random) -> None:
    """No shapes of inner values."""
    del model.graph.value_info[:]


def _shuffled(model: onnx.ModelProto, draw: random.Random) -> None:
    """Initializers in another order, and outputs too."""
    tensors = list(model.graph.initializer)
    draw.shuffle(tensors)
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    outputs = list(model.graph.output)
    draw.shuffle(outputs)
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _transposed(model: onnx.ModelProto, draw: random.Random) -> None:
    """Outputs of three axes the other way round."""
    nodes = {node.output[0]: node for node in model.graph.node}
    for value in model.graph.output:
        sides = value.type.tensor_type.shape.dim
        if value.type.tensor_type.elem_type != TensorProto.FLOAT or len(sides) != 3 or value.name not in nodes:
            continue
        before = f"{value.name}_before"
        nodes[value.name].output[0] = before
        for node in model.graph.node:
            node.input[:] = [before if name == value.name else name for name in node.input]
        model.graph.node.append(helper.make_node("Transpose", [before], [value.name], perm=[0, 2, 1]))
        changed = [1, sides[2].dim_value, sides[1].dim_value]
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, changed))


def shape_arithmetic(model: onnx.ModelProto, draw: random.Random) -> None:
    """Reshapes whose batch is asked of the value, as exports that were not simplified have them."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for number, node in enumerate(model.graph.node):
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and len(shape) > 1 and shape[0] == 1:
            names = [f"shape{number}_{i}" for i in range(5)]
            for name, values in zip(names, ([0], [1], shape[1:]), strict=False):
                model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
            nodes += [
                helper.make_node("Shape", [node.input[0]], [f"{names[3]}_all"]),
                helper.make_node("Slice", [f"{names[3]}_all", names[0], names[1]], [names[3]]),
                helper.make_node("Concat", [names[3], names[2]], [names[4]], axis=0),
            ]
            node.input[1] = names[4]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


_REWRITINGS: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    _rename,
    _identities,
    _weights_as_inputs,
    _no_shapes,
    shape_arithmetic,
    _shuffled,
    _transposed,
]


def _damage(model: onnx.ModelProto, draw: random.Random) -> str:
    """Another decoder: the places of the cells are a tenth off. Returns what was done, nothing where there are none."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        place = array.ndim in (3, 5) and array.size > 100 and array.dtype == np.float32 and 2 in array.shape
        if place and array.min() < 1 and array.max() > 3:  # not the sides of anchors
            changed = numpy_helper.from_array((array * 1.1).astype(np.float32), tensor.name)
            tensor.CopyFrom(changed)
            return "other decoder"
    return ""
