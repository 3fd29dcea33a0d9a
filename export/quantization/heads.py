"""Head rescale: the channels of a raw head get the whole of the integers for themselves.

The channels of a head have ranges of their own (sizes of some units, logits of tens). For a channel between m and M the
convolution before it gives (y − m)/(M − m) instead of y; what reads the head multiplies and adds them back in float.
Exact, but for rounding. Box channels have a range each; all classes share one, and so do all objectnesses: a class that
is rare in the pictures must reach as high as one that is not.
"""

from collections.abc import Mapping

import numpy as np

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.calibration import TensorStatistics
from yolo_edge.export.quantization.importance import BOX, CLASS, OBJECTNESS, channel_kinds, has_logistic_classes
from yolo_edge.export.quantization.plan import HeadPlan
from yolo_edge.export.quantization.structure import name_of
from yolo_edge.ondevice.spec import ModelSpec

# logits: σ of what lies below is no confidence that anybody asks for; the first that leaves the map as it is by so much
_FAINT, _LEAST_SNR = (-9.0, -11.0, -13.0, -16.0, -20.0), 26.0
_SURE = 3.0  # a logit: 0.95, which every class must be able to reach
_MARGIN = 0.1  # of the range of a box channel, on both sides: other pictures reach further
_NARROW = 1e-3  # of the widest channel: below, a channel is as good as constant


def rescale_heads(graph: Graph, statistics: Mapping[str, TensorStatistics], spec: ModelSpec) -> dict[str, HeadPlan]:
    """Factor and offset of each channel of each raw head that a convolution gives, and that nothing else uses.

    Args:
        graph: Canonical.
        statistics: Of its tensors.
        spec: Of its raw heads.
    """
    found = {}
    for value in graph.graph.outputs:
        producer = value.producer()
        if producer is None or producer.op_type != "Conv" or value.uses():  # whoever uses it wants it as it is
            continue
        seen = statistics[name_of(value)]
        low, high = _bounds(seen, spec, name_of(value))
        spread = high - low
        factor = np.maximum(spread, max(_NARROW * float(spread.max()), 1e-6))
        found[name_of(value)] = HeadPlan(tuple(map(float, factor)), tuple(map(float, low)))
    return found


def _bounds(seen: TensorStatistics, spec: ModelSpec, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each channel begins and ends, float64 [channels]."""
    kinds = channel_kinds(spec, name, len(seen.low))
    low, high = seen.low.copy(), seen.high.copy()
    margin = _MARGIN * (high - low)
    low[kinds == BOX] -= margin[kinds == BOX]
    high[kinds == BOX] += margin[kinds == BOX]
    for kind in (OBJECTNESS, CLASS):
        if (kinds == kind).any():
            low[kinds == kind] = low[kinds == kind].min()
            high[kinds == kind] = high[kinds == kind].max()
    logistic = (kinds == OBJECTNESS) | ((kinds == CLASS) & has_logistic_classes(spec, name))
    high[logistic] = np.maximum(high[logistic], _SURE)
    signal = float((np.square(seen.values) * seen.histogram).sum())
    for faint in _FAINT:
        raised = np.where(logistic, np.maximum(low, faint), low)
        lost = float((np.square(np.maximum(raised[:, None] - seen.values, 0)) * seen.histogram).sum())
        if lost <= signal * 10 ** (-_LEAST_SNR / 10):
            return raised, high
    return low, high
