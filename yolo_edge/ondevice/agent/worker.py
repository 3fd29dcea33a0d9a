"""One loaded model, and the clock beside it."""

import gc
import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import cv2
import numpy as np

from yolo_edge.ondevice.agent import machine
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.spec import ModelSpec

Stamps = Tuple[int, int, int, int, int]  # four clock readings, and the CPU time of the inference; all in ns

SYNTHETIC_SIZE = (640, 480)  # width, height of the picture that is used where none is given

_QUIET_STEP, _QUIET_CAP = 0.002, 0.2  # seconds


class Worker:
    """A model that is loaded, run and timed in this process.

    Three things are timed in each inference, with one clock reading between them: preprocessing (picture → tensor), the
    inference, post-processing (outputs → boxes). A model without a spec has the inference alone.

    Attributes:
        loaded: What loading it told: see `Worker.__init__`.
    """

    def __init__(
        self,
        model: str,
        *,
        spec: Optional[str],
        runtime: str,
        threads: int,
        image: Optional[str],
        pin: bool,
        fast: bool = False,
    ):
        """Load a model, and run it once.

        Afterwards `loaded` has: `runtime`, its name, and `runtime_version`; `precise`, see `Runtime`; `start_ms`, the
        time to load the runtime's library and the model; `load_ms`, to load the model alone; `first_ms`, of the first
        inference; `base_mb`, the memory before; `cpus` that this process keeps to, where they differ in speed, or null;
        `detections` in the picture and its `picture` size, or null.

        Args:
            model: The path of a model file.
            spec: The JSON of its spec; None: it has none, and the inference alone is timed.
            runtime: "auto" or the name of one.
            threads: Of the runtime and of OpenCV.
            image: The path of a picture; None: a synthetic one.
            pin: Keep to the fastest kind of CPUs, where they differ.
            fast: As of `open_runtime`.

        Raises:
            InputError: The model or the picture cannot be used.
        """
        cpus = machine.fastest_cpus(threads) if pin else None
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        cv2.setNumThreads(threads)
        parsed = None if spec is None else ModelSpec.from_json(spec, f"{model}: spec")
        picture = synthetic_picture() if image is None else read_image(image)
        base = machine.memory()["now_mb"]
        start = time.perf_counter()
        job = _open(model, parsed, runtime, threads, picture, fast)
        start_ms = (time.perf_counter() - start) * 1e3
        del job
        start = time.perf_counter()
        self._job = _open(model, parsed, runtime, threads, picture, fast)
        load_ms = (time.perf_counter() - start) * 1e3
        self._model, self._threads = model, threads
        first = self._job.once()
        self._expected = float(first[2] - first[1])  # ns
        self.loaded = {
            "runtime": self._job.runtime.name,
            "runtime_version": self._job.runtime.version,
            "precise": self._job.runtime.precise,
            "start_ms": start_ms,
            "load_ms": load_ms,
            "first_ms": self._expected / 1e6,
            "base_mb": base,
            "cpus": cpus,
            "detections": None if self._job.detect is None else len(self._job.detect()),
            "picture": None if parsed is None else [picture.shape[1], picture.shape[0]],
        }

    def warm_up(self, window_s: float, within: float, cap_s: float) -> Dict[str, Any]:
        """Run until the medians of two successive windows agree.

        Args:
            window_s: Seconds of a window; it has three inferences at least.
            within: How far apart the medians may be, as a fraction.
            cap_s: Stop after so many seconds in any case.

        Returns:
            `seconds` it took, whether it `settled`, and the `median_ms` of the last window.
        """
        start = time.perf_counter()
        before = float("inf")
        while True:
            times = self._run(window_s, 3)
            median = float(np.median([stamps[2] - stamps[1] for stamps in times]))
            seconds = time.perf_counter() - start
            settled = abs(median - before) <= within * before < float("inf")
            if settled or seconds >= cap_s:
                self._expected = median
                self._wait_until_quiet()
                return {"seconds": seconds, "settled": settled, "median_ms": median / 1e6}
            before = median

    def turn(self, seconds: float, count: int, settle_s: float) -> Dict[str, Any]:
        """Measure for a while.

        Args:
            seconds: At least so long.
            count: At least so many inferences.
            settle_s: Run so long before, uncounted: others had the caches meanwhile. Left out where one inference
                takes longer than the turn: there it makes no difference.

        Returns:
            `stages_ns`: [preprocessing, inference, post-processing] of each inference (the inference alone where there
            is no spec); `cpu_ns`: the CPU time of each inference, in all threads; `window_ns`: when those began and
            ended, on the monotonic clock; `wall_s` and `cpu_s` of the turn; `clock_mhz` of the CPUs at its end.
        """
        cpu, start = time.process_time(), time.perf_counter()
        if self._expected < seconds * 1e9:
            self._run(settle_s, 1)
        begins = time.monotonic_ns()
        times = self._run(seconds, count)
        ends = time.monotonic_ns()
        clock_mhz = machine.clocks()
        self._wait_until_quiet()
        stages = [[b - a for a, b in zip(stamps[:4], stamps[1:4])] for stamps in times]
        if self._job.detect is None:
            stages = [[inference] for _, inference, _ in stages]
        return {
            "stages_ns": stages,
            "cpu_ns": [stamps[4] for stamps in times],
            "window_ns": [begins, ends],
            "wall_s": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu,
            "clock_mhz": clock_mhz,
        }

    def profile(self, count: int) -> Dict[str, Any]:
        """Time by operator; see `yolo_edge.ondevice.runtimes.onnx_tools.profile`.

        Raises:
            InputError: The runtime has no profiler that we read.
        """
        runtime = self._job.runtime
        if runtime.name != "onnxruntime":
            raise InputError(f"time by operator is measured with onnxruntime only, not with {runtime.name}")
        from yolo_edge.ondevice.runtimes.onnx_tools import profile  # noqa: PLC0415 - where onnxruntime is there

        return profile(self._model, self._job.tensor, self._threads, count, precise=runtime.precise)

    def _run(self, seconds: float, count: int) -> List[Stamps]:
        once, times = self._job.once, []
        end = time.perf_counter_ns() + int(seconds * 1e9)
        gc.disable()
        try:
            while True:
                stamps = once()
                times.append(stamps)
                if stamps[3] >= end and len(times) >= count:
                    return times
        finally:
            gc.enable()

    def _wait_until_quiet(self) -> None:
        """Wait until the threads of the runtime sleep: some spin for tens of milliseconds in case more work comes."""
        if self._threads == 1:
            return
        end = time.perf_counter() + _QUIET_CAP
        while time.perf_counter() < end:
            before = time.process_time()
            time.sleep(_QUIET_STEP)
            if time.process_time() - before < _QUIET_STEP / 4:
                return


class _Job:
    """What is timed: `once` gives the clock readings around the three stages, and the CPU time of the second."""

    def __init__(
        self,
        runtime: Runtime,
        tensor: np.ndarray,
        once: Callable[[], Stamps],
        detect: Optional[Callable[[], Detections]],
    ):
        self.runtime, self.tensor, self.once, self.detect = runtime, tensor, once, detect


def _open(model: str, spec: Optional[ModelSpec], runtime: str, threads: int, picture: np.ndarray, fast: bool) -> _Job:
    clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    if spec is None:
        return _open_bare(model, runtime, threads, fast)
    detector = Detector(model, spec, threads=threads, runtime=runtime, fast=fast)
    run = detector.runtime.run

    def once() -> Stamps:
        start = clock()
        tensor, placement = detector.preprocess(picture)
        begun = cpu_clock()
        before = clock()
        outputs = run(tensor)
        after = clock()
        used = cpu_clock() - begun
        detector.postprocess(outputs, placement)
        return start, before, after, clock(), used

    tensor, _ = detector.preprocess(picture)
    return _Job(detector.runtime, tensor, once, lambda: detector(picture))


def _open_bare(model: str, runtime: str, threads: int, fast: bool) -> _Job:
    clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    loaded = open_runtime(model, runtime, threads, fast)
    tensor = made_up_input(loaded, model)
    run = loaded.run

    def once() -> Stamps:
        begun = cpu_clock()
        before = clock()
        run(tensor)
        after = clock()
        return before, before, after, after, cpu_clock() - begun

    return _Job(loaded, tensor, once, None)


def made_up_input(loaded: Runtime, model: str) -> np.ndarray:
    """Seeded values for the input of a model without a spec.

    Args:
        loaded: The model.
        model: Its name, for messages.

    Raises:
        InputError: It has no fixed size, or a type that no detector has.
    """
    if loaded.input_dtype not in ("float32", "uint8", "int8") or min(loaded.input_shape, default=1) < 1:
        raise InputError(
            f"{model}: carries no spec, and its input {loaded.input_dtype} {list(loaded.input_shape)} is none of a "
            "fixed size that could be made up"
        )
    values = np.random.default_rng(0).random(loaded.input_shape)
    scale = {"float32": 1, "uint8": 255, "int8": 127}[loaded.input_dtype]
    return np.asarray((values * scale).astype(loaded.input_dtype))


def synthetic_picture() -> np.ndarray:
    """A seeded BGR picture, uint8 [480, 640, 3], with coarse and fine structure, of nothing in particular."""
    width, height = SYNTHETIC_SIZE
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.integers(0, 200, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(coarse + rng.integers(0, 50, coarse.shape, np.uint8))
