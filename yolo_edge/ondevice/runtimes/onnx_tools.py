"""What else onnxruntime can tell about a machine and a model: its fastest product of matrices, and where time goes."""

import base64
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

import numpy as np

from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.runtimes.onnx import new_session

# c = MatMul(a, b) for matrices of any size, an ONNX file of opset 13: a device has no onnx to write one with
MATMUL = base64.b64decode(
    "CAc6WwoRCgFhCgFiEgFjIgZNYXRNdWwSAWdaFQoBYRIQCg4IARIKCgMSAW4KAxIBbloVCgFiEhAKDggBEgoKAxIBbgoDEgFuYhUKAWMSEAoOCAESCgoD"
    "EgFuCgMSAW5CBAoAEA0="
)


def matmul(threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The product of two float32 matrices as onnxruntime computes it."""
    session = new_session(MATMUL, threads)

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {"a": a, "b": b})[0])

    return multiply


def profile(
    model: Union[PathLike, bytes], tensor: np.ndarray, threads: int, count: int, precise: Optional[bool] = None
) -> Dict[str, Any]:
    """Run a model with onnxruntime's profiler.

    The profiler itself takes some time at each node, so its total is above that of an ordinary run.

    Args:
        model: A path, or the bytes of a file, with one input.
        tensor: The input.
        threads: Within an operator.
        count: Of inferences, after two that do not count.
        precise: See `new_session`.

    Returns:
        `run_ms`: of each inference, as the profiler reports it; `outside_ms`: the same inferences, timed around the
        call; `nodes`: a list of `name`, `operator`, `ms` (mean of an inference), by falling time.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = model if isinstance(model, bytes) else str(model)
        prefix = str(Path(folder) / "profile")
        session = new_session(source, threads, precise=precise, enable_profiling=True, profile_file_prefix=prefix)
        feed, names = {session.get_inputs()[0].name: tensor}, [output.name for output in session.get_outputs()]
        outside = []
        for _ in range(count + 2):
            start = time.perf_counter()
            session.run(names, feed)
            outside.append((time.perf_counter() - start) * 1e3)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    runs = [event["dur"] / 1e3 for event in events if event.get("name") == "model_run"]
    return {"run_ms": runs[2:], "outside_ms": outside[2:], "nodes": _nodes(events, count)}


def _nodes(events: List[Dict[str, Any]], count: int) -> List[Dict[str, Any]]:
    times: Dict[str, List[int]] = {}
    operators: Dict[str, str] = {}
    for event in events:
        name = str(event.get("name"))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            node = name[: -len("_kernel_time")]
            times.setdefault(node, []).append(event["dur"])
            operators[node] = str(event["args"].get("op_name"))
    nodes = [
        {"name": node, "operator": operators[node], "ms": sum(durations[-count:]) / min(count, len(durations)) / 1e3}
        for node, durations in times.items()
    ]
    return sorted(nodes, key=lambda node: -node["ms"])
