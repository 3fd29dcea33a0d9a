"""An agent whose inferences take longer than they do: for `same_and_slower.py`, never by itself.

    python benchmarks/scripts/delayed_agent.py 0.03

After each inference it keeps the CPU busy for that fraction of the time that the inference took.
"""

import sys
import time
from typing import Any

from yolo_edge.ondevice.agent.server import main
from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime


def delay(fraction: float) -> None:
    """Make every onnxruntime model slower."""
    plain = OnnxRuntime.run

    def run(self: OnnxRuntime, tensor: Any) -> Any:
        start = time.perf_counter_ns()
        outputs = plain(self, tensor)
        now = time.perf_counter_ns()
        end = now + int((now - start) * fraction)
        while time.perf_counter_ns() < end:
            pass
        return outputs

    OnnxRuntime.run = run  # type: ignore[method-assign]


if __name__ == "__main__":
    delay(float(sys.argv[1]))
    main()
