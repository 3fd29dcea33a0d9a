"""What the forms that int8 ONNX files are written in are worth: time of fp32 = 1, one thread, interleaved.

    .venv-dev/bin/python benchmarks/scripts/int8_forms.py MODEL... --calibration DIR [--seconds 6]

From left to right each column has one form more: plain pairs of QuantizeLinear and DequantizeLinear; LeakyRelus as
sums; a large first convolution on blocks of pixels; channels filled up with zeros. `precise`: the last, and the first,
with `session.x64quantprecision`, as the runtime sets it on x86 without VNNI.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from yolo_edge.export.graph import Graph
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_align import align_channels
from yolo_edge.export.onnx_blocks import gather_blocks
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.onnx_leaky import sum_leaky_relus
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.choose import quantize
from yolo_edge.export.quantization.pictures import Pictures
from yolo_edge.export.quantization.recipe import RECIPES
from yolo_edge.export.source import canonicalize
from yolo_edge.ondevice.pictures import find_images
from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime
from yolo_edge.timing import interleave, median_ratio

FORMS = {"plain": 0, "+ sums": 1, "+ blocks": 2, "+ channels": 3}


def main() -> None:
    """Measure and print a row of a table a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help=".cfg or .onnx, as export takes them")
    parser.add_argument("--calibration", required=True, help="a folder of pictures")
    parser.add_argument("--seconds", type=float, default=6, help="for each model")
    options = parser.parse_args()
    paths = find_images([options.calibration])
    columns = ["model", "fp32, ms", *FORMS, "precise: plain", "all"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for model in options.models:
        source = load_model(model)
        graph = canonicalize(source.graph)
        pictures = Pictures.choose(paths, 16)
        # what a recipe decides is numbers, not operators
        network = quantize(graph, source.spec, pictures, recipes=RECIPES[:1]).network
        files = {name: form(network, count) for name, count in FORMS.items()}
        runtimes = {name: OnnxRuntime(data, 1, precise=False) for name, data in files.items()}
        runtimes["fp32"] = OnnxRuntime(write_onnx(graph, source.spec), 1)
        for name, data in (("precise: plain", files["plain"]), ("all", files["+ channels"])):
            runtimes[name] = OnnxRuntime(data, 1, precise=True)
        tensor = np.random.default_rng(0).random(runtimes["fp32"].input_shape, np.float32)
        calls = {name: partial(runtime.run, tensor) for name, runtime in runtimes.items()}
        samples = interleave(calls, seconds=options.seconds)
        ratios = [str(median_ratio(samples[name], samples["fp32"])) for name in columns[2:]]
        print(f"| {source.stem} | {1e3 * np.median(samples['fp32']):.2f} | {' | '.join(ratios)} |", flush=True)


def form(network: QuantizedGraph, count: int) -> bytes:
    """A file with the first so many forms."""
    model = quantize_onnx(network)
    for change in (sum_leaky_relus, gather_blocks, align_channels)[:count]:
        change(model)
    return serialized(model)


def serialized(model: Graph) -> bytes:
    """A file without our metadata."""
    common.InlinePass()(model)
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


if __name__ == "__main__":
    main()
