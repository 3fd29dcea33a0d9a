from pathlib import Path

import onnx
import pytest

from tests.export.quantization.support import Prepared, depthwise_darknet
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.channels import CHANNELS_KEY
from yolo_edge.export.load import load_model
from yolo_edge.export.summary import load_onnx, summarize
from yolo_edge.ondevice.errors import InputError

CFG = (
    "[net]\nwidth=32\nheight=16\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\ngroups=8\nfilters=8\nsize=3\npad=1\nactivation=relu\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nfilters=6\nactivation=linear\n"
    "[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"
)


def test_counts_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(CFG)
    summary = summarize(canonicalize(load_model(path, shapes_only=True).graph))
    rows = [(layer.name, layer.kind, layer.activation, layer.output) for layer in summary.layers]
    assert rows == [
        ("conv_0", "Conv 3x3/2", "LeakyRelu", (1, 8, 8, 16)),
        ("conv_1", "Conv 3x3 dw", "Relu", (1, 8, 8, 16)),
        ("maxpool_2", "MaxPool 2x2/2", "", (1, 8, 4, 8)),
        ("conv_3", "Conv 1x1", "", (1, 6, 4, 8)),
    ]
    assert [layer.parameters for layer in summary.layers] == [8 * 27 + 8, 8 * 9 + 8, 0, 6 * 8 + 6]
    assert [layer.macs for layer in summary.layers] == [27 * 8 * 128, 9 * 8 * 128, 0, 8 * 6 * 32]
    assert summary.parameters == sum(layer.parameters for layer in summary.layers)
    assert summary.macs == sum(layer.macs for layer in summary.layers)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weights"])
def test_exported_files_have_the_same_layers(cfg: Path, tmp_path: Path, precision: str) -> None:
    source = load_model(cfg)
    graph = canonicalize(source.graph)
    path = tmp_path / "a.onnx"
    path.write_bytes(write_onnx(graph, source.spec, precision))
    before, after = summarize(graph), summarize(load_onnx(path))
    assert (before.parameters, before.macs) == (after.parameters, after.macs)
    assert [layer.output for layer in before.layers if layer.macs] == [
        layer.output for layer in after.layers if layer.macs
    ]


@pytest.mark.parametrize("seed", range(3))
def test_zeros_of_int8_files_do_not_count(tmp_path: Path, seed: int) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, seed, ("leaky", "swish", "relu")[seed]), 2)
    path = tmp_path / "a.onnx"
    path.write_bytes(write_onnx(prepared.quantized(), prepared.spec, "int8"))
    before, after = summarize(prepared.graph), summarize(load_onnx(path))
    assert (before.parameters, before.macs) == (after.parameters, after.macs)
    model = onnx.load(path)
    next(item for item in model.metadata_props if item.key == CHANNELS_KEY).value = "["
    onnx.save(model, path)
    with pytest.raises(InputError, match="cannot be read"):
        summarize(load_onnx(path))


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"not an onnx file", b"\x08\x07\x12\x00" * 9])
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx: "):
        load_onnx(path)
