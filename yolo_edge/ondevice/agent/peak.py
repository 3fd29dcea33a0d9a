"""How many float32 operations a second the machine reaches, in the best case that networks consist of."""

import importlib
import os
import time
from typing import Any, Callable, Dict

from yolo_edge.ondevice.agent.machine import fastest_cpus

_SIZE = 1024
# the libraries that numpy may multiply with read these when they are loaded
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def measure_peak(threads: int, seconds: float, pin: bool) -> Dict[str, Any]:
    """The fastest product of two 1024x1024 float32 matrices.

    Multiplied by numpy and, where it is installed, by onnxruntime: neither is the faster one on all machines. Numpy
    must not have been imported before: its threads are set here.

    Args:
        threads: Of the product.
        seconds: To try for, with each library.
        pin: Keep to the fastest kind of CPUs, where they differ.

    Returns:
        `gflops` (10⁹ operations a second, a multiplication and an addition counted as two) and `by`, the library.
    """
    for name in _THREADS:
        os.environ[name] = str(threads)
    cpus = fastest_cpus(threads) if pin else None
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    import numpy as np  # noqa: PLC0415 - now its threads are set

    a = np.random.default_rng(0).random((_SIZE, _SIZE), np.float32)
    product = np.empty_like(a)
    found = {"numpy": _best(lambda: np.matmul(a, a, out=product), seconds)}
    try:
        matmul = importlib.import_module("yolo_edge.ondevice.runtimes.onnx_tools").matmul(threads)
        found["onnxruntime"] = _best(lambda: matmul(a, a), seconds)
    except ImportError:  # not installed
        pass
    by = min(found, key=lambda name: found[name])
    return {"gflops": 2 * _SIZE**3 / found[by] / 1e9, "by": by}


def _best(call: Callable[[], object], seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best
