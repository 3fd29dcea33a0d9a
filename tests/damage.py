"""TFLite files of which some bytes were changed."""

import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime


def count_refused(data: bytes, end: int, files: int = 150) -> int:
    """How many of so many files, each with three bytes before `end` changed, are refused; the others are loaded."""
    refused = 0
    for seed in range(files):
        rng, damaged = np.random.default_rng(seed), bytearray(data)
        for place in rng.integers(8, end, 3):
            damaged[place] = rng.choice([0, 1, 4, 127, 128, 255])
        try:
            TfliteRuntime(bytes(damaged))
        except InputError:
            refused += 1
    return refused
