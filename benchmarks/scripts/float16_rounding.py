"""What keeping the sum of each channel gains over rounding float16 weights to nearest.

    python benchmarks/scripts/float16_rounding.py MODEL.cfg... --images DIR

Prints the SNR at the worst head, in dB against the float32 source, over the pictures of a folder.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from yolo_edge import Detector
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model
from yolo_edge.export.rounding import to_float16
from yolo_edge.export.verify import Reference, snr_db
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.pictures import find_images


def nearest(weight: np.ndarray) -> np.ndarray:
    """What everybody does."""
    return weight.astype(np.float16)


def worst_head(model: Path, pictures: list[np.ndarray], rounding: Callable[[np.ndarray], np.ndarray]) -> float:
    """The lowest SNR of a head when weights are rounded so."""
    source = load_model(model)
    reference = Reference(source.graph, source.spec, pictures)
    with mock.patch("yolo_edge.export.rounding.to_float16", rounding):
        detector = Detector(write_onnx(canonicalize(source.graph), source.spec, "fp16"))
    results = [detector.runtime.run(detector.preprocess(picture)[0]) for picture in pictures]
    return min(
        snr_db(np.stack([o[name] for o in reference.outputs]), np.stack([o[name] for o in results]))
        for name in reference.outputs[0]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.cfg")
    parser.add_argument("--images", type=Path, required=True)
    options = parser.parse_args()
    pictures = [read_image(path) for path in find_images([str(options.images)])]
    print(f"{'model':<32} {'nearest':>9} {'sum kept':>9} {'gain':>7}   dB, {len(pictures)} pictures")
    for model in options.models:
        plain, kept = (worst_head(model, pictures, rounding) for rounding in (nearest, to_float16))
        print(f"{model.stem:<32} {plain:9.1f} {kept:9.1f} {kept - plain:7.1f}")


if __name__ == "__main__":
    main()
