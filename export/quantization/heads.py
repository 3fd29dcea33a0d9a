"""Head rescale: each channel of a raw head gets the whole of the integers for itself.

The channels of a head have ranges of their own (sizes of some units, class logits of tens). For channel c between m and
M the convolution before it gives (y − m)/(M − m) instead of y; what reads the head multiplies and adds them back in
float. Exact, but for rounding.
"""

from collections.abc import Mapping

import numpy as np

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.calibration import TensorStatistics
from yolo_edge.export.quantization.plan import HeadPlan
from yolo_edge.export.quantization.structure import name_of

_NARROW = 1e-3  # of the widest channel: below, a channel is as good as constant


def rescale_heads(graph: Graph, statistics: Mapping[str, TensorStatistics]) -> dict[str, HeadPlan]:
    """Factor and offset of each channel of each raw head that a convolution gives."""
    found = {}
    for value in graph.graph.outputs:
        producer = value.producer()
        if producer is None or producer.op_type != "Conv":
            continue
        seen = statistics[name_of(value)]
        spread = seen.high - seen.low
        factor = np.maximum(spread, max(_NARROW * float(spread.max()), 1e-6))
        found[name_of(value)] = HeadPlan(tuple(map(float, factor)), tuple(map(float, seen.low)))
    return found
