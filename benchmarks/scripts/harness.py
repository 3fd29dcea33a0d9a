"""What the harness adds to an inference, and whether its clock agrees with onnxruntime's own profiler.

    python benchmarks/scripts/harness.py yoloface-50k-56-fp32.onnx yolo-fastest-1.1-320-fp32.onnx

For each model, on one thread, in one interleaved run: `session.run` in a bare loop, against the inference as a worker
of `yolo-edge benchmark` times it; the difference is what `Runtime.run` and two clock readings add. Then the time that
passes in a worker's loop outside of the three stages. Then the median of the same runs, timed as the harness does it,
against that of the profiler's `model_run` events.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from yolo_edge.ondevice.agent.worker import Worker, synthetic_picture
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.timing import median_ratio

_TURN_S = 0.03
_PICTURE = synthetic_picture()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="exported .onnx files")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for model in options.models:
        measure(model, options.seconds)


def measure(model: Path, seconds: float) -> None:
    """Print the figures of one model."""
    detector = Detector(model, threads=1)
    tensor = detector.preprocess(_PICTURE)[0].copy("K")
    session = new_session(str(model), 1)
    names, feed = [output.name for output in session.get_outputs()], {session.get_inputs()[0].name: tensor}
    worker = Worker(str(model), spec=detector.spec.to_json(), runtime="auto", threads=1, image=None, pin=True)

    plain, harness, outside = [], [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        stop, times = time.perf_counter() + _TURN_S, []
        while time.perf_counter() < stop:
            # what surrounds an inference in a worker surrounds it here, too: the caches are alike
            _, placement = detector.preprocess(_PICTURE)
            start = time.perf_counter_ns()
            arrays = session.run(names, feed)
            times.append(time.perf_counter_ns() - start)
            detector.postprocess(dict(zip(names, arrays, strict=True)), placement)
        plain.append(np.median(times))
        turn = worker.turn(_TURN_S, 1, 0.005)
        harness.append(np.median([stages[1] for stages in turn["stages_ns"]]))
        begun = time.perf_counter_ns()
        stages = worker._run(_TURN_S, 1)  # the loop itself is what is looked at
        wall = time.perf_counter_ns() - begun
        outside.append((wall - sum(stamps[3] - stamps[0] for stamps in stages)) / len(stages))
    a, b = np.array(harness), np.array(plain)
    added = float(np.median(a - b)) / 1e3
    profile = worker.profile(300)
    run, around = np.array(profile["run_ms"]), np.array(profile["outside_ms"])
    print(f"{model.name}, one thread, {len(a)} rounds, median inference {np.median(b) / 1e6:.4f} ms in a bare loop")
    print(f"  as the harness times it: {median_ratio(a, b)} times that, {added:+.2f} µs")
    print(f"  outside of the stages: {np.median(outside) / 1e3:.2f} µs an inference")
    # each inference was timed by both: what disturbed it is in both times
    apart = float(np.median(around - run)) * 1e3
    print(
        f"  p50 of profiled runs {np.median(around) / np.median(run):.4f} times the profiler's, {apart:+.2f} µs a run"
    )


if __name__ == "__main__":
    main()
