"""An untrusted ONNX file → `ModelProto`, with its external data, checked."""

from collections.abc import Iterator
from pathlib import Path, PurePath

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_readable, first_line, printable, read_bytes
from yolo_edge.ondevice.runtimes.foreign import why_no_onnx
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES

MIN_OPSET = 11


def read_onnx(path: Path) -> tuple[ModelProto, list[Path]]:
    """Read a model and the files that hold its weights.

    Returns:
        The model with all weights inside, and the files that it came from.

    Raises:
        InputError: Not an ONNX file, of an opset that is not supported, or with weights outside its folder.
    """
    model = parse_onnx(read_bytes(path, MAX_MODEL_BYTES), path)
    if not all(isinstance(name, str) for name in _names(model)):  # proto2 gives bytes for what is no UTF-8
        raise InputError(f"{path}: not an ONNX file (a name in it is not UTF-8)")
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: not an ONNX file with a network in it")
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    newest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset <= newest:
        raise InputError(
            f"{path}: opset {opset}; {MIN_OPSET} to {newest} are read: export the model again with one of them"
        )
    files = _load_external(model, path)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:  # the C++ part raises types of its own
            raise InputError(f"{path}: its functions cannot be put in place ({first_line(error)})") from error
    return model, [path, *files]


def parse_onnx(data: bytes, path: Path) -> ModelProto:
    """The model that the bytes of a file are; nothing in it is looked at.

    Raises:
        InputError: They are none; the message says what they look like instead.
    """
    try:
        return onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not an ONNX file ({why_no_onnx(data)})") from error


def _names(model: ModelProto) -> Iterator[object]:
    """Everything in a model that should be text."""
    for item in model.opset_import:
        yield item.domain
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes.extend(graph.node)
            for value in (*graph.input, *graph.output, *graph.value_info):
                yield value.name
                yield from (side.dim_param for side in value.type.tensor_type.shape.dim)
            for tensor in graph.initializer:
                yield tensor.name
                yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
            continue
        node = nodes.pop()
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            graphs.extend([attribute.g, *attribute.graphs])


def _load_external(model: ModelProto, path: Path) -> list[Path]:
    """Put the weights of other files into the model; such a file lies beside the model, or in a folder there."""
    folder = path.parent.resolve()
    files: dict[Path, None] = {}
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            if tensor.external_data:
                raise InputError(f"{path}: tensor {printable(tensor.name)[:80]!r} is inside and outside the file")
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = _external_path(folder, path, entries.get("location", ""))
        files[place] = None
        tensor.raw_data = _slice(place, entries, path, tensor)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return list(files)


def _external_path(folder: Path, path: Path, location: str) -> Path:
    parts = PurePath(location)
    problem = f"{path}: external data {printable(location)[:80]!r}"
    if not location or "\0" in location or parts.is_absolute() or ".." in parts.parts:
        raise InputError(f"{problem}: expected a file in the folder of the model")
    place = (folder / parts).resolve()  # links too
    if not place.is_relative_to(folder):
        raise InputError(f"{problem}: expected a file in the folder of the model")
    check_readable(place)
    return place


def _slice(place: Path, entries: dict[str, str], path: Path, tensor: TensorProto) -> bytes:
    where = f"{path}: tensor {printable(tensor.name)[:80]!r}"
    size = place.stat().st_size
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries["length"]) if entries.get("length") else size - offset
    except ValueError as error:
        raise InputError(f"{where}: offset and length are whole numbers") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise InputError(f"{where}: bytes {offset} to {offset + length} of {place.name}, which has {size}")
    with place.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _tensors(model: ModelProto) -> list[TensorProto]:
    found = list(model.graph.initializer)
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        found.extend(_tensors_of(node))
    return found


def _tensors_of(node: NodeProto) -> list[TensorProto]:
    found: list[TensorProto] = []
    for item in node.attribute:
        if item.type == AttributeProto.TENSOR:
            found.append(item.t)
        found.extend(item.tensors)
        for graph in [item.g, *item.graphs] if item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ():
            found.extend(graph.initializer)
            for child in graph.node:
                found.extend(_tensors_of(child))
    return found
