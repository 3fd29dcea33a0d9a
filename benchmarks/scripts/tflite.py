"""What writing TFLite costs, and LiteRT against onnxruntime with the same weights.

    python benchmarks/scripts/tflite.py MODEL.cfg... [--size 320] [--threads 1,2] [--seconds 5]

First the time to write each file and the memory that it takes at its peak (as Python and numpy allocate it) as a
multiple of the weights, which count themselves: they are in memory already. Then, side by side in one process, the time
of one inference in LiteRT as a multiple of that in onnxruntime, float32 and float16 weights.
"""

import argparse
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path

import numpy as np

from yolo_edge import Detector
from yolo_edge.cli.options import sizes
from yolo_edge.export import Graph, canonicalize, write_onnx, write_tflite
from yolo_edge.export.graph import constant_of
from yolo_edge.export.load import load_model
from yolo_edge.export.tflite.delegation import Delegation
from yolo_edge.ondevice.spec import ModelSpec
from yolo_edge.timing import interleave, median_ratio

PRECISIONS = ("fp32", "fp16")
ROUNDS = 5


def weight_bytes(graph: Graph) -> int:
    """What the weights of convolutions and their biases take in memory."""
    arrays = (constant_of(value) for value in graph.graph.initializers.values())
    return sum(array.nbytes for array in arrays if array is not None)


def print_writing(name: str, graph: Graph, spec: ModelSpec) -> None:
    """One line a precision."""
    weights = weight_bytes(graph)
    for precision in PRECISIONS:
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            data = write_tflite(graph, spec, precision)
            seconds.append(time.perf_counter() - began)
        del data
        tracemalloc.start()
        size = len(write_tflite(graph, spec, precision))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(
            f"{name:<32} {precision:<5} {size / 1e6:9.2f} MB {np.median(seconds) * 1e3:9.1f} ms "
            f"{1 + peak / weights:8.2f} x the weights"
        )


def print_speed(name: str, graph: Graph, spec: ModelSpec, threads: int, seconds: float) -> None:
    """One line a precision."""
    picture = np.random.default_rng(0).integers(0, 256, (spec.input.height, spec.input.width, 3), np.uint8)
    for precision in PRECISIONS:
        files = {"onnx": write_onnx(graph, spec, precision), "tflite": write_tflite(graph, spec, precision)}
        calls = {}
        for format_, data in files.items():
            detector = Detector(data, threads=threads)
            tensor = detector.preprocess(picture)[0]
            calls[format_] = lambda runtime=detector.runtime, tensor=tensor: runtime.run(tensor)
        samples = interleave(calls, seconds=seconds)
        delegation = Delegation.of(files["tflite"])
        times = [f"{np.median(samples[format_]) * 1e3:8.2f} ms" for format_ in files]
        ratio = median_ratio(samples["tflite"], samples["onnx"])
        parts = f"{delegation.partitions} XNNPACK, {delegation.left_out.total()} operators outside"
        print(f"{name:<32} {precision:<5} {threads:>7} {times[0]:>12} {times[1]:>12}   {ratio}   {parts}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.cfg")
    parser.add_argument("--size", help="320 or 352x288; default: the model's own")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing, each line")
    options = parser.parse_args()
    size = sizes(options.size)[0]
    loaded = []
    for path in options.models:
        source = load_model(path, size=size)
        loaded.append((path.stem, canonicalize(source.graph), source.spec))
    print(f"{'writing':<38} {'file':>12} {'time':>12} {'peak memory':>22}")
    for name, graph, spec in loaded:
        print_writing(name, graph, spec)
    packages = " ".join(f"{name} {version(name)}" for name in ("onnxruntime", "ai-edge-litert"))
    print(f"\n{packages}: one inference, its median; the last column is TFLite / ONNX with its 95 % interval")
    print(f"{'running':<38} {'threads':>7} {'ONNX':>12} {'TFLite':>12}   ratio")
    for name, graph, spec in loaded:
        for threads in map(int, options.threads.split(",")):
            print_speed(name, graph, spec, threads, options.seconds)


if __name__ == "__main__":
    main()
