"""A foreign ONNX file → `Graph` and `ModelSpec`."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import ModelProto, NodeProto, helper

from yolo_edge.export.graph import Graph
from yolo_edge.export.importers.onnx.advice import advise
from yolo_edge.export.importers.onnx.dequantize import dequantize
from yolo_edge.export.importers.onnx.emit import Emitter, colours
from yolo_edge.export.importers.onnx.fold import fold
from yolo_edge.export.importers.onnx.heads import find_heads
from yolo_edge.export.importers.onnx.inputs import fix_inputs
from yolo_edge.export.importers.onnx.network import OnnxNetwork, needed_nodes
from yolo_edge.export.importers.onnx.operators import OPERATORS
from yolo_edge.export.importers.onnx.read import read_onnx
from yolo_edge.export.importers.onnx.recognize import Anchors, UnknownFamilyError, recognize
from yolo_edge.export.importers.onnx.resize import at_size
from yolo_edge.export.importers.onnx.run_decoder import Recognition
from yolo_edge.export.importers.onnx.shuffle import gather_channels
from yolo_edge.export.importers.size import check_sides, check_stride
from yolo_edge.export.provenance import find_licence, sha256
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.decode import LAYOUTS, check_heads
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line, printable
from yolo_edge.ondevice.maps import MAP_ROLES
from yolo_edge.ondevice.names import assumed_names
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import METADATA_KEY, Head, InputSpec, ModelSpec, Provenance, check_spec

MAX_CLASSES = 100_000
_MAX_ERROR = 1e-4  # relative, of the raw heads: as fp32 files are held to
_MAX_NAMES = 1 << 20
_NO_REGION = "yolo_edge.no_region"  # Resize wants one up to opset 12


def import_onnx(
    path: Path,
    size: tuple[int, int] | None = None,
    spec: ModelSpec | None = None,
    where: str | None = None,
    anchors: Anchors = (),
) -> SourceModel:
    """Import a detector from an ONNX file: its decoder is recognised and cut off.

    Args:
        path: The file.
        size: Input (width, height); None: the file's own.
        spec: Says what the network is, where that cannot be recognised; its heads name values of the file.
        where: What the spec was read from, for error messages.
        anchors: (width, height) in pixels of the file's own input, from fine to coarse, where the file lacks them.

    Returns:
        The network up to its raw heads, in canonical operators, taking RGB 0..1 whatever the file takes.

    Raises:
        InputError: The file cannot be read, is no detector that is known, or cannot have that size.
    """
    model, files = read_onnx(path)
    notes = fix_inputs(model)
    own = None if _has_fixed_size(model) else size or _metadata_size(model)
    if own is None and spec is not None and not _has_fixed_size(model):
        own = (spec.input.width, spec.input.height)
    network = fold(model, str(path), own)
    quantized = dequantize(network)
    if quantized:
        notes.append(f"{path.name} is quantized: {quantized} operators were taken back to float, weights stay rounded")
    gather_channels(network)
    if spec is None and METADATA_KEY in _metadata(model):  # one of our own files
        spec = ModelSpec.from_json(_metadata(model)[METADATA_KEY], f"{path}: spec")
        if any(head.family not in {*LAYOUTS, *MAP_ROLES} for head in spec.heads):
            raise InputError(f"{path}: decodes by itself; export it from a file with --head raw")
        if anchors:
            raise InputError(f"--anchors: {path} was written by yolo-edge and says what its heads are")
    if spec is None:
        spec, found_notes = _spec(network, _recognize(network, anchors), model, path)
        notes += found_notes
    else:
        unsure = _check_given(network, spec, where or f"{path}: spec", path)
        notes += unsure if where is not None else []  # our own files say what they are
    if spec.precision != "fp32":
        notes.append(f"the weights of {path.name} were rounded to {spec.precision} before")
        spec = replace(spec, precision="fp32")
    if not spec.provenance.source:
        spec = replace(spec, provenance=_provenance(path, files, model))
    heads = list(dict.fromkeys(name for head in spec.heads for name in head.tensors.values()))
    taken, own_size = spec.input, (spec.input.width, spec.input.height)
    graph, spec = _build(network, spec, heads, path)
    if not quantized:
        _check(model, network, graph, taken, own_size, heads, path)
    if size is not None and size != own_size:
        check_sides(size)
        check_stride(size, max(head.stride for head in spec.heads), path.name)
        graph = at_size(graph, size, str(path))
        spec = replace(spec, input=replace(spec.input, width=size[0], height=size[1]))
        if not quantized:
            _check(model, network, graph, taken, size, heads, path)
    check_spec(spec, str(path))
    return SourceModel(stem=path.stem, graph=graph, spec=spec, notes=tuple(notes))


def _has_fixed_size(model: ModelProto) -> bool:
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        sides = value.type.tensor_type.shape.dim
        if value.name not in constants and len(sides) == 4:
            return bool(sides[2].dim_value > 0 and sides[3].dim_value > 0)
    return True  # what else is wrong is said later


def _metadata(model: ModelProto) -> dict[str, str]:
    return {item.key: item.value[:_MAX_NAMES] for item in model.metadata_props}


def _literal(text: str | None) -> object:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _metadata_size(model: ModelProto) -> tuple[int, int] | None:
    """Ultralytics' `imgsz`: [height, width]."""
    found = _literal(_metadata(model).get("imgsz"))
    if isinstance(found, (list, tuple)) and len(found) == 2 and all(isinstance(side, int) for side in found):
        return int(found[1]), int(found[0])
    return None


def _names(model: ModelProto, classes: int) -> tuple[tuple[str, ...], str, list[str]]:
    """Class names: the file's, when it has as many as the network has classes."""
    found = _literal(_metadata(model).get("names"))
    if isinstance(found, list):
        found = dict(enumerate(found))
    if isinstance(found, dict) and found:
        names = [found.get(i) for i in range(classes)]
        if len(found) == classes and all(isinstance(name, str) and name for name in names):
            return tuple(printable(str(name)) for name in names), "file", []
        names_found, source = assumed_names(classes)
        return names_found, source, [f"the file has {len(found)} class names for {classes} classes: not used"]
    return (*assumed_names(classes), [])


def _spec(network: OnnxNetwork, found: Recognition, model: ModelProto, path: Path) -> tuple[ModelSpec, list[str]]:
    _, _, height, width = network.shapes[network.input]
    if found.classes > MAX_CLASSES:
        raise InputError(f"{path}: {found.classes} classes, more than {MAX_CLASSES}")
    names, source, notes = _names(model, found.classes)
    strides = [level.stride for level in found.levels]
    stated = _literal(_metadata(model).get("stride"))
    if isinstance(stated, int) and stated != max(strides):
        notes.append(f"the file says stride {stated}, its coarsest head has {max(strides)}: that counts")
    size = _metadata_size(model)
    if size is not None and size != (width, height):
        notes.append(
            f"the file says imgsz {size[1]}x{size[0]}, its input is {height}x{width} (rows, columns): that counts"
        )
    if found.decoded is None:
        notes.append(f"{path.name} ends at its raw heads: the family {found.family} is taken from their channels")
    if found.one_to_one:
        notes.append(f"{path.name} gives each object one box: no NMS is done")
    reach = 2.0 if found.family in ("yolov5", "yolo_fastestv2") else 1.0  # 2σ − ½: darknet's scale_x_y of 2
    squash = "softmax" if found.family in ("fastestdet", "yolo_fastestv2") else "sigmoid"
    heads = tuple(
        Head(
            found.family,
            level.stride,
            level.tensors,
            level.anchors,
            scale_xy=reach,
            class_activation=squash,
            one_to_one=found.one_to_one,
        )
        for level in found.levels
    )
    spec = ModelSpec(
        input=_input(found.trainer or found.family, width, height),
        heads=heads,
        names=names,
        names_from=f"file {printable(path.name)}" if source == "file" else source,
    )
    return spec, notes


def _input(family: str, width: int, height: int) -> InputSpec:
    """How the trainers of a family prepare pictures."""
    if family == "yolox":  # data_augment.py: padded at the right and at the bottom, BGR 0..255
        return InputSpec(
            width, height, color="BGR", scale=(1, 1, 1), resize="letterbox", pad_value=114, pad_position="top_left"
        )
    if family in ("fastestdet", "yolo_fastestv2"):  # utils/datasets.py: as OpenCV reads it, stretched
        return InputSpec(width, height, color="BGR")
    if family in ("nanodet", "nanodet_plus"):  # config/*.yml: normalize; data/transform/warp.py: black around
        mean, deviation = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
        scale = (1 / deviation[0], 1 / deviation[1], 1 / deviation[2])
        return InputSpec(width, height, color="BGR", mean=mean, scale=scale, resize="letterbox", pad_value=0)
    return InputSpec(width, height, resize="letterbox", pad_value=114)


def _recognize(network: OnnxNetwork, anchors: Anchors) -> Recognition:
    """Recognise a network; where that fails, say what would help.

    Raises:
        InputError: Not a family that is known.
    """
    try:
        return recognize(network, anchors)
    except UnknownFamilyError as error:
        _, _, height, width = network.shapes[network.input]
        emitter = Emitter(network, "body")
        emitter.take_colours(InputSpec(width, height))
        try:
            emitter.emit(error.heads, OPERATORS)
        except InputError as problem:  # a spec would not help
            why = str(problem).removeprefix(f"{network.path}: ")
            message = f"{error}. Its body cannot be read either, so --spec FILE would not help: {why}"
            raise InputError(message) from None
        advice = advise(network, error.levels)
        more = "" if advice is None else f"; it is likely {advice.likely}, and `yolo-edge inspect` prints a spec of it"
        message = f"{error}. Where they are of one of these families, --spec FILE says so{more}"
        raise UnknownFamilyError(message, error.heads, error.levels, advice) from None


def _check_given(network: OnnxNetwork, spec: ModelSpec, where: str, path: Path) -> list[str]:
    """Check a spec that was given against the file; returns what a person should know.

    Raises:
        InputError: It names other values than there are, leaves heads out, or contradicts the file's own decoder.
    """
    _, _, height, width = network.shapes[network.input]
    if (spec.input.width, spec.input.height) != (width, height):
        said = f"{spec.input.width}x{spec.input.height}"
        raise InputError(f"{where}: the input is {said}, that of {path} {width}x{height}")
    names = [name for head in spec.heads for name in head.tensors.values()]
    for i, head in enumerate(spec.heads):
        for role, name in head.tensors.items():
            if name not in network.shapes or name in network.constants:
                shown = printable(name)[:80]
                raise InputError(f"{where}.heads[{i}].tensors.{role}: {path} has no value {shown!r}")
    check_heads(spec, network.shapes, where)
    left = find_heads(network, frozenset(names))
    if left:
        shown = ", ".join(printable(name)[:60] for name in left[:6])
        raise InputError(f"{where}.heads: the outputs of {path} depend on heads that are not listed: {shown}")
    try:
        found = recognize(network)
    except InputError:
        return [f"{path.name}: nothing in the file could be compared with the spec"]
    stated = {frozenset(head.tensors.values()): (head.family, head.stride, head.anchors) for head in spec.heads}
    for level in found.levels:
        seen = (found.family, level.stride, level.anchors)
        given = stated.get(frozenset(level.tensors.values()))
        same = given is not None and given[:2] == seen[:2] and np.allclose(given[2] or [0], seen[2] or [0], rtol=1e-3)
        if found.decoded is not None and not same:
            raise InputError(f"{where}.heads: {path} itself decodes {seen}, the spec says {given}")
    return []


def _provenance(path: Path, files: list[Path], model: ModelProto) -> Provenance:
    stated = _metadata(model).get("license")
    return Provenance(
        source=printable(path.name),
        sha256={printable(file.name): sha256(file) for file in files},
        licence=printable(stated)[:200] if stated else find_licence(path.parent),
    )


def _build(network: OnnxNetwork, spec: ModelSpec, heads: list[str], path: Path) -> tuple[Graph, ModelSpec]:
    """The graph behind an input of RGB 0..1, with heads called head_0, head_1_box and so on."""
    emitter = Emitter(network, printable(path.stem))
    emitter.take_colours(spec.input)
    values = emitter.emit(heads, OPERATORS)
    outputs: dict[str, ir.Value] = {}
    renamed = []
    for i, head in enumerate(spec.heads):
        tensors = {}
        for role, name in head.tensors.items():
            tensors[role] = f"head_{i}" if len(head.tensors) == 1 else f"head_{i}_{role}"
            outputs[tensors[role]] = values[name]
        renamed.append(replace(head, tensors=tensors))
    if len({id(value) for value in outputs.values()}) < len(outputs):
        raise InputError(f"{path}: two heads read the same value")
    plain = InputSpec(spec.input.width, spec.input.height)
    image = replace(spec.input, tensor=plain.tensor, color=plain.color, mean=plain.mean, scale=plain.scale)
    return emitter.builder.build(outputs), replace(spec, input=image, heads=tuple(renamed))


def _check(
    model: ModelProto,
    network: OnnxNetwork,
    graph: Graph,
    taken: InputSpec,
    size: tuple[int, int],
    heads: list[str],
    path: Path,
) -> None:
    """Run the file itself and what was made of it, on noise.

    Raises:
        InputError: Their raw heads differ, or the file cannot be run at this size.
    """
    width, height = size
    pixels = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    try:
        if (1, 3, height, width) == network.shapes[network.input]:
            session = new_session(_ending_at(model, network.input, (height, width), heads))
        else:  # the file's own operators, without the sizes that were worked out for its own
            session = new_session(_without_sizes(network).part({network.input: (1, 3, height, width)}, heads))
        expected = session.run(heads, {network.input: _as_taken(pixels, taken)})
    except Exception as error:  # onnxruntime raises types of its own
        raise InputError(f"{path}: does not run at {width}x{height} ({first_line(error)})") from error
    ours = new_session(ir.to_proto(graph).SerializeToString(), optimize=False)
    names = [output.name for output in ours.get_outputs()]
    found = ours.run(names, {graph.graph.inputs[0].name: pixels})
    for name, a, b in zip(heads, expected, found, strict=True):
        largest = float(np.abs(a).max(initial=0))
        same = a.shape == b.shape and np.isfinite(a).all()
        if not same or np.abs(a - b).max(initial=0) > _MAX_ERROR * max(largest, 1e-6):
            raise InputError(
                f"{path}: what was read of it computes something else at {printable(name)[:80]!r}, {width}x{height}; "
                "the file may be for one size only"
            )


def _as_taken(pixels: np.ndarray, taken: InputSpec) -> np.ndarray:
    """RGB 0..1 as the file takes it."""
    order, factor, offset = colours(taken)
    return np.asarray(pixels[:, order] * factor.reshape(1, 3, 1, 1) + offset.reshape(1, 3, 1, 1))


def _without_sizes(network: OnnxNetwork) -> OnnxNetwork:
    """The network with factors in the place of sizes, where it resizes."""
    nodes, constants = [], {**network.constants, _NO_REGION: np.empty(0, np.float32)}
    for node in network.nodes:
        before, after = (network.shapes.get(name) for name in (node.input[0] if node.input else "", node.output[0]))
        if node.op_type == "Resize" and len(node.input) > 3 and before is not None and after is not None:
            name = f"{node.output[0]}.factors"
            constants[name] = np.array(after, np.float32) / np.array(before, np.float32)
            changed = NodeProto()
            changed.CopyFrom(node)
            del changed.input[1:]
            changed.input.extend([_NO_REGION, name])
            node = changed  # noqa: PLW2901
        nodes.append(node)
    return replace(network, nodes=nodes, constants=constants)


def _ending_at(model: ModelProto, image: str, size: tuple[int, int], heads: list[str]) -> bytes:
    """The file with another input size, ending at some of its values."""
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    for value in graph.input:
        if value.name == image:
            for side, number in zip(value.type.tensor_type.shape.dim, (1, 3, *size), strict=True):
                side.dim_value = number
    kept = needed_nodes(graph.node, heads)  # decoders may have operators that no runtime knows
    del graph.value_info[:], graph.output[:], graph.node[:]
    graph.node.extend(kept)
    graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in heads)
    return bytes(changed.SerializeToString())
