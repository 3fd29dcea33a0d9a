"""What is in a TFLite file: read by LiteRT's own schema reader, and as zip."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.support import RandomWeights, random_darknet
from tests.tflite_support import convolve, operators, read_model
from yolo_edge import Detector, InputError, ModelSpec
from yolo_edge.export import SourceModel, canonicalize, write_tflite
from yolo_edge.export.canonical import OPERATORS
from yolo_edge.export.graph import GraphBuilder
from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.export.summary import summarize
from yolo_edge.export.tflite import schema, table
from yolo_edge.export.tflite.delegation import Delegation
from yolo_edge.export.tflite.shapes import carry_order
from yolo_edge.export.tflite.summary import summarize_tflite
from yolo_edge.ondevice.flatbuffer import decode
from yolo_edge.ondevice.runtimes.tflite_file import MODEL_TABLES, SPEC_FILE, read_metadata
from yolo_edge.ondevice.spec import METADATA_KEY, Head, InputSpec

ALL_OPTIONS = [
    FileOptions(precision, head, kind)
    for precision in ("fp32", "fp16")
    for head in ("raw", "decoded", "nms")
    for kind in ("float32", "uint8")
]


@pytest.fixture(scope="module")
def source(cfg: Path) -> SourceModel:
    return load_model(cfg, names=None)


@pytest.fixture(scope="module", params=ALL_OPTIONS, ids=lambda o: f"{o.precision}-{o.head}-{o.input}")
def options(request: pytest.FixtureRequest) -> FileOptions:
    found: FileOptions = request.param
    return found


@pytest.fixture(scope="module")
def data(source: SourceModel, options: FileOptions) -> bytes:
    return write_tflite(canonicalize(source.graph), source.spec, options)


def test_litert_reads_it_and_every_buffer_is_aligned(data: bytes) -> None:
    model = read_model(data)
    assert model.version == 3
    graph = model.subgraphs[0]
    filled = [buffer.data for buffer in model.buffers if buffer.data is not None]
    assert len(filled) > 10
    assert model.buffers[0].data is None
    places = decode(schema.SCHEMA, "Model", data)["buffers"]
    assert all(buffer["data"].start % 16 == 0 for buffer in places if buffer["data"])
    for buffer, place in zip(model.buffers, places, strict=True):
        if place["data"]:
            assert bytes(buffer.data) == data[place["data"].start : place["data"].stop]
    for tensor in graph.tensors:
        assert 0 <= tensor.buffer < len(model.buffers)
    # constants come first or are made by an operator before they are used
    made = {*graph.inputs, *(i for i, tensor in enumerate(graph.tensors) if tensor.buffer)}
    for operator in graph.operators:
        assert set(operator.inputs) <= made
        made |= set(operator.outputs)
    assert set(graph.outputs) <= made


def test_the_signature_names_inputs_and_outputs_in_order(
    data: bytes, options: FileOptions, source: SourceModel
) -> None:
    model = read_model(data)
    (signature,) = model.signatureDefs
    graph = model.subgraphs[0]
    assert signature.signatureKey == b"serving_default"
    expected = {
        "raw": [head.tensors["map"] for head in source.spec.heads],
        "decoded": ["output0"],
        "nms": ["detection_boxes", "detection_classes", "detection_scores", "num_detections"],
    }[options.head]
    assert [item.name.decode() for item in signature.inputs] == ["images"]
    assert [item.name.decode() for item in signature.outputs] == expected
    assert [item.tensorIndex for item in signature.outputs] == list(graph.outputs)
    assert [graph.tensors[i].name.decode() for i in graph.outputs] == expected


def test_codes_are_known_to_old_readers_too(data: bytes) -> None:
    for code in read_model(data).operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)


def test_versions_and_first_runtimes(data: bytes, options: FileOptions) -> None:
    model = read_model(data)
    entries = {item.name.decode(): bytes(model.buffers[item.buffer].data) for item in model.metadata}
    assert len(entries["min_runtime_version"]) == 16
    version = entries["min_runtime_version"].rstrip(b"\0").decode()
    least = {"raw": "1.14.0", "decoded": "1.14.0", "nms": "2.2.0"}[options.head]
    if options.precision == "fp16":
        least = max(least, "1.15.0", key=lambda text: [int(part) for part in text.split(".")])
    assert version == least


def test_transposes_are_in_decoders_only(data: bytes, options: FileOptions, source: SourceModel) -> None:
    allowed = len(source.spec.heads) if options.head == "decoded" else 0
    assert operators(data).count("TRANSPOSE") <= allowed


def test_the_zip_behind_it(data: bytes, source: SourceModel) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", SPEC_FILE]
        assert all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
        assert archive.read("labels.txt").decode().splitlines() == list(source.spec.names)
        text = archive.read(SPEC_FILE).decode()
    assert read_metadata(data, "model") == {METADATA_KEY: text}
    assert ModelSpec.from_json(text) == Detector(data).spec


def test_the_same_input_gives_the_same_bytes(data: bytes, source: SourceModel, options: FileOptions) -> None:
    assert write_tflite(canonicalize(source.graph), source.spec, options) == data


def test_one_partition(data: bytes, options: FileOptions) -> None:
    delegation = Delegation.of(data)
    if options.head != "nms":
        assert (delegation.partitions, sum(delegation.left_out.values())) == (1, 0)
        return
    # what chooses the best class, what moves classes apart and back
    assert delegation.partitions <= 3
    convolutions = [i for i, op in enumerate(delegation.operators) if op.name.endswith("CONV_2D")]
    assert all(op.delegated for op in delegation.operators[: max(convolutions) + 1])
    assert delegation.left_out["TFLite_Detection_PostProcess"] == 1


def test_metadata_for_other_programs(data: bytes, source: SourceModel, options: FileOptions) -> None:
    model = read_model(data)
    (entry,) = [item for item in model.metadata if item.name == b"TFLITE_METADATA"]
    blob = bytes(model.buffers[entry.buffer].data)
    assert blob[4:8] == b"M001"
    found = decode(schema.METADATA_SCHEMA, "ModelMetadata", blob)
    (graph,) = found["subgraph_metadata"]
    (image,) = graph["input_tensor_metadata"]
    kind, properties = image["content"]["content_properties"]
    assert kind == "ImageProperties"
    own = source.spec.input
    assert properties["default_size"] == {"width": own.width, "height": own.height}
    _, normalization = image["process_units"][0]["options"]
    # (pixel − mean) / std is what the input takes
    assert normalization["std"] == pytest.approx([255.0 if options.input == "float32" else 1.0] * 3)
    assert len(graph["output_tensor_metadata"]) == len(model.subgraphs[0].outputs)
    assert [item["name"] for item in found["associated_files"]] == [SPEC_FILE]


def test_the_table_covers_the_canonical_form() -> None:
    assert set(OPERATORS) <= set(table.LOWERINGS)


def test_an_operator_without_lowering_is_refused_by_name(source: SourceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(table.LOWERINGS, "Conv")
    with pytest.raises(InputError, match=r"layer '\w+' \(Conv\): cannot be written as TFLite; use --format onnx"):
        write_tflite(canonicalize(source.graph), source.spec)


def test_dilated_pools_are_refused_by_name() -> None:
    builder = GraphBuilder("pool", 16, 16)
    attributes = {"kernel_shape": [2, 2], "pads": [0, 0, 0, 0], "strides": [1, 1], "dilations": [2, 2]}
    x = builder.node("MaxPool", [builder.input], (1, 3, 14, 14), "pool_1", attributes)
    spec = ModelSpec(InputSpec(16, 16), (Head("yolo", 1, {"map": "head_0"}),), ("a",))
    with pytest.raises(InputError, match=r"layer 'pool_1' \(MaxPool\): TFLite has no dilated pools"):
        write_tflite(builder.build({"head_0": x}), spec)


def test_unknown_options(source: SourceModel) -> None:
    graph = canonicalize(source.graph)
    for options, message in (
        (FileOptions("int4"), "precision 'int4': there is fp32 and fp16 and int8"),
        (FileOptions(head="boxes"), "head 'boxes'"),
        (FileOptions(input="float16"), "input 'float16'"),
    ):
        with pytest.raises(InputError, match=message):
            write_tflite(graph, source.spec, options)


def large_graph(megabytes: int) -> tuple[ir.Model, ModelSpec]:
    builder, rng = GraphBuilder("large", 32, 32), np.random.default_rng(0)
    x = convolve(builder, builder.input, rng, 512, 3, "first")
    for i in range(megabytes):  # each layer has one megabyte
        x = convolve(builder, x, rng, 512, 512, f"layer_{i}")
    spec = ModelSpec(InputSpec(32, 32), (Head("yolo", 1, {"map": "head_0"}),), ("a",))
    return builder.build({"head_0": x}), spec


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1.5), ("fp16", 1.5)])
def test_peak_memory_is_2_5_times_the_weights(precision: str, limit: float) -> None:
    graph, spec = large_graph(60)
    write_tflite(*large_graph(2), precision)  # what is imported and cached on first use
    tracemalloc.start()
    data = write_tflite(graph, spec, precision)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weights = 60 << 20
    assert len(data) == pytest.approx(weights / (1 if precision == "fp32" else 2), rel=0.1)
    # the weights themselves were there before
    assert peak <= limit * weights


@pytest.mark.parametrize(
    ("order", "before", "after", "expected"),
    [
        ((0, 2, 3, 1), (1, 6, 4, 5), (1, 2, 3, 20), (0, 3, 1, 2)),  # channels apart, cells together
        ((0, 3, 1, 2), (1, 2, 3, 20), (1, 6, 4, 5), (0, 2, 3, 1)),  # and back
        ((0, 2, 3, 1), (1, 6, 4, 5), (1, 24, 5), None),  # channels and rows are apart
        ((0, 2, 3, 1), (1, 6, 1, 1), (1, 6), (0, 1)),
        ((0, 1, 2, 3), (1, 6, 4, 5), (1, 24, 5), (0, 1, 2)),
        ((0, 2, 3, 1), (1, 1, 4, 5), (1, 20), (0, 1)),
    ],
)
def test_reshapes_that_leave_data_where_they_are(
    order: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    found = carry_order(order, before, after)
    assert found == expected
    value = np.arange(np.prod(before)).reshape(before)
    stored = value.transpose(order)
    if found is not None:
        np.testing.assert_array_equal(
            stored.reshape([after[axis] for axis in found]), value.reshape(after).transpose(found)
        )


@pytest.mark.parametrize("seed", range(10))
def test_the_summary_counts_what_the_graph_has(tmp_path: Path, seed: int) -> None:
    source = load_model(random_darknet(tmp_path, seed))
    graph = canonicalize(source.graph)
    expected = summarize(graph)
    for precision in ("fp32", "fp16"):
        path = tmp_path / "a.tflite"
        path.write_bytes(write_tflite(graph, source.spec, precision))
        found = summarize_tflite(path)
        assert (found.parameters, found.macs) == (expected.parameters, expected.macs)


def test_every_reader_has_the_same_core(data: bytes) -> None:
    assert (
        MODEL_TABLES.items()
        <= {
            name: {field.name: None for field in fields} and MODEL_TABLES.get(name, {})
            for name, fields in schema.SCHEMA.tables.items()
        }.items()
    )


def test_shared_weights_are_stored_once(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(
        "[net]\nwidth=16\nheight=16\n[convolutional]\nfilters=64\nsize=3\npad=1\nactivation=relu\n"
        "[convolutional]\nfilters=64\nsize=3\npad=1\nactivation=relu\n"
        "[convolutional]\nshare_index=1\nfilters=64\nsize=3\npad=1\nactivation=relu\n"
        "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"
    )
    source = import_darknet(tmp_path / "a.cfg", RandomWeights(0))
    graph = canonicalize(source.graph)
    one = 4 * 64 * 64 * 9
    for precision, size in (("fp32", one), ("fp16", one / 2)):
        assert len(write_tflite(graph, source.spec, precision)) < 1.2 * size + 20_000
