"""A graph loaded into onnxruntime, to be run beside other work: no threads that spin, no memory that is kept."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from yolo_edge.export.graph import Graph
from yolo_edge.ondevice.runtimes.onnx import new_session


class GraphSession:
    """Runs a graph.

    Attributes:
        outputs: The names of all that it can give.
    """

    def __init__(self, graph: Graph, threads: int | None = None):
        """Load `graph`, which is not changed; `threads` within one operator, None: onnxruntime's own choice."""
        if graph.functions:
            graph = graph.clone()
            InlinePass()(graph)
        data = ir.to_proto(graph).SerializeToString()
        self._session = new_session(data, threads, spin=False, enable_cpu_mem_arena=False)
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, feed: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run it.

        Args:
            feed: Name of an input → array.
            names: Of the outputs that are wanted; None: all.
        """
        wanted = list(self.outputs if names is None else names)
        return dict(zip(wanted, self._session.run(wanted, dict(feed)), strict=True))
