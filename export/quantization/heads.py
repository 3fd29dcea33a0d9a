"""Head rescale: each channel of a raw head gets the whole of the integers for itself.

The channels of a head have ranges of their own (sizes of some units, class logits of tens). For channel c between m and
M the convolution before it gives (y − m)/(M − m) instead of y; what reads the head multiplies and adds them back in
float. Exact, but for rounding.
"""

from collections.abc import Mapping

import numpy as np

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.calibration import TensorStatistics
from yolo_edge.export.quantization.importance import logistic_channels
from yolo_edge.export.quantization.plan import HeadPlan
from yolo_edge.export.quantization.structure import name_of
from yolo_edge.ondevice.spec import ModelSpec

# logits: σ of what lies below is no confidence that anybody asks for; the first that leaves the map as it is by so much
_FAINT, _LEAST_SNR = (-9.0, -11.0, -13.0, -16.0, -20.0), 26.0
_NARROW = 1e-3  # of the widest channel: below, a channel is as good as constant


def rescale_heads(graph: Graph, statistics: Mapping[str, TensorStatistics], spec: ModelSpec) -> dict[str, HeadPlan]:
    """Factor and offset of each channel of each raw head that a convolution gives.

    Args:
        graph: Canonical.
        statistics: Of its tensors.
        spec: Of its raw heads.
    """
    found = {}
    for value in graph.graph.outputs:
        producer = value.producer()
        if producer is None or producer.op_type != "Conv":
            continue
        seen = statistics[name_of(value)]
        low = _raised(seen, logistic_channels(spec, name_of(value), len(seen.low)))
        spread = seen.high - low
        factor = np.maximum(spread, max(_NARROW * float(spread.max()), 1e-6))
        found[name_of(value)] = HeadPlan(tuple(map(float, factor)), tuple(map(float, low)))
    return found


def _raised(seen: TensorStatistics, logistic: np.ndarray) -> np.ndarray:
    """Where each channel may begin, float64 [channels]."""
    signal = float((np.square(seen.values) * seen.histogram).sum())
    for faint in _FAINT:
        low = np.minimum(np.where(logistic, np.maximum(seen.low, faint), seen.low), seen.high)
        lost = float((np.square(np.maximum(low[:, None] - seen.values, 0)) * seen.histogram).sum())
        if lost <= signal * 10 ** (-_LEAST_SNR / 10):
            return low
    return seen.low
