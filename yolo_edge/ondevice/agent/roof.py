"""What bounds a network on a machine besides fp32 arithmetic: memory, and int8 arithmetic where that is measured."""

import base64
import importlib
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np

from yolo_edge.ondevice.agent.machine import fastest_cpus

_SIDE = 1024  # of the matrices
_LEAST, _MOST = 64 << 20, 512 << 20  # bytes of a buffer
_CACHES = 4  # times the largest cache: what fits in it would be no memory
# c = MatMulInteger(a, b) for uint8 and int8 matrices of any size, an ONNX file of opset 13: a device has no onnx
MATMUL_INTEGER = base64.b64decode(
    "CAc6YgoYCgFhCgFiEgFjIg1NYXRNdWxJbnRlZ2VyEgFpWhUKAWESEAoOCAISCgoDEgFuCgMSAW5aFQoBYhIQCg4IAxIKCgMSAW4KAxIBbmIVCgFj"
    "EhAKDggGEgoKAxIBbgoDEgFuQgQKABAN"
)


def measure_roof(threads: int, seconds: float, pin: bool, root: Path = Path("/")) -> Dict[str, Any]:
    """How fast memory is copied, and int8 matrices are multiplied.

    The copy is of a buffer of four times the largest cache, 64 MB at least, in as many parts as there are threads; a
    byte that is read and written counts twice, as in STREAM (McCalpin 1995). The product is onnxruntime's
    MatMulInteger of two 1024x1024 matrices, uint8 times int8.

    Args:
        threads: Of both.
        seconds: To try for, each.
        pin: Keep to the fastest kind of CPUs, where they differ.
        root: Of the file system.

    Returns:
        `copy_gb_s` (10⁹ bytes a second), `copied_mb`, the buffer; `int8_gops` (10⁹ operations a second, a
        multiplication and an addition counted as two) and `int8_by`, null where onnxruntime is not installed or cannot.
    """
    cpus = fastest_cpus(threads) if pin else None
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    size = min(max(_CACHES * _largest_cache(root), _LEAST), _MOST)
    gops = _int8(threads, seconds)
    return {
        "copy_gb_s": _copy(size, threads, seconds),
        "copied_mb": size / 1e6,
        "int8_gops": gops,
        "int8_by": None if gops is None else "onnxruntime",
    }


def _copy(size: int, threads: int, seconds: float) -> float:
    source, target = np.zeros(size, np.uint8), np.empty(size, np.uint8)
    source[:] = 1  # pages of zeros that nobody wrote are all the same one
    bounds = np.linspace(0, size, threads + 1).astype(int)
    parts = [slice(begin, end) for begin, end in zip(bounds[:-1], bounds[1:])]
    start, end_of_round = threading.Barrier(threads), threading.Barrier(threads)
    best = [float("inf")]
    running = [True]

    def work(number: int) -> None:
        begun = time.perf_counter()
        while running[0]:
            start.wait()
            before = time.perf_counter()
            np.copyto(target[parts[number]], source[parts[number]])  # lets go of the interpreter's lock
            end_of_round.wait()
            if number == 0:
                now = time.perf_counter()
                best[0] = min(best[0], now - before)
                running[0] = now - begun < seconds
            start.wait()  # nobody looks at `running` before it is known

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(1, threads)]
    for worker in workers:
        worker.start()
    work(0)
    for worker in workers:
        worker.join()
    return 2 * size / best[0] / 1e9


def _int8(threads: int, seconds: float) -> Optional[float]:
    try:
        new_session = importlib.import_module("yolo_edge.ondevice.runtimes.onnx").new_session
    except ImportError:  # not installed
        return None
    rng = np.random.default_rng(0)
    feed = {
        "a": rng.integers(0, 256, (_SIDE, _SIDE), np.uint8),
        "b": rng.integers(-128, 128, (_SIDE, _SIDE)).astype(np.int8),
    }
    try:
        session = new_session(MATMUL_INTEGER, threads)
        session.run(None, feed)
    except Exception:  # noqa: BLE001 - onnxruntime has types of its own; one that was built without it has no int8 roof
        return None
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        before = time.perf_counter()
        session.run(None, feed)
        now = time.perf_counter()
        best = min(best, now - before)
        if now >= end:
            return float(2 * _SIDE**3 / best / 1e9)


def _largest_cache(root: Path) -> int:
    """Bytes; 0 where the kernel does not tell."""
    sizes = [0]
    for path in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            text = path.read_text().strip()
            sizes.append(int(text.rstrip("KMG")) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1))
        except (OSError, ValueError):
            continue
    return max(sizes)
