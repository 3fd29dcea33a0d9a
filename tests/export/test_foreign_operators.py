"""Operators in the body of a foreign file: what they may be, and what is refused by name."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.export import foreign
from tests.export.onnx_parts import OnnxWriter
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.ondevice.errors import InputError

Behind = Callable[[OnnxWriter, str, int], str]


def excite(w: OnnxWriter, x: str, channels: int) -> str:
    """Squeeze and excitation: a factor a channel, from its mean."""
    mean = w.op("ReduceMean", x, w.ints(2, 3)) if w.opset >= 18 else w.op("ReduceMean", x, axes=[2, 3])
    return w.op("Mul", x, w.op("Sigmoid", w.conv(mean, channels, channels)))


TAKEN: dict[str, Behind] = {
    "squeeze and excitation": excite,
    "bounds as vectors": lambda w, x, _: w.op("Clip", x, w.array([0]), w.array([6])),
    "one bound": lambda w, x, _: w.op("Clip", x, "", w.array(3)),
    "a slope a channel": lambda w, x, channels: w.op("PRelu", x, w.array(w.rng.random((channels, 1, 1)))),
    "channels backwards": lambda w, x, channels: w.op("Gather", x, w.ints(*range(channels)[::-1]), axis=1),
    "zeros that count": lambda w, x, _: w.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    "less than a constant": lambda w, x, _: w.op("Sub", w.array(1), x),
    "a sum of three": lambda w, x, _: w.op("Sum", x, w.op("Relu", x), x),
}
REFUSED: dict[str, tuple[Behind, str]] = {
    "two bounds": (lambda w, x, _: w.op("Clip", x, w.array([0, 0])), "input 1 has 2 values, one is expected"),
    "no bound": (lambda w, x, _: w.op("Clip", x, w.array([])), "input 1 has 0 values, one is expected"),
    "two values around": (
        lambda w, x, _: w.op("Pad", x, w.ints(*[0] * 8), w.array([0, 0])),
        "input 2 has 2 values, one is expected",
    ),
    "ones around": (lambda w, x, _: w.op("Pad", x, w.ints(*[0] * 8), w.array(1)), "padding with zeros is supported"),
    "no channels": (lambda w, x, _: w.op("Gather", x, w.ints(), axis=1), "picks other things than channels"),
    "a mean of channels": (
        lambda w, x, _: w.op("Mul", x, w.op("ReduceMean", x, w.ints(1))),
        "means over height and width are supported",
    ),
    "division by zero": (lambda w, x, _: w.op("Div", x, w.array(0)), "divides by zero"),
}


def test_operators(tmp_path: Path) -> None:
    # that they compute what the file's own operators do is checked by the importer
    for opset in (17, 18):
        for name, behind in TAKEN.items():
            onnx.save(foreign.yolov8(opset, behind=behind), tmp_path / "foreign.onnx")
            heads = import_onnx(tmp_path / "foreign.onnx").spec.heads
            assert [head.family for head in heads] == ["dfl"] * 3, name


@pytest.mark.parametrize(("behind", "message"), REFUSED.values(), ids=REFUSED)
def test_operators_that_are_refused(behind: Behind, message: str, tmp_path: Path) -> None:
    onnx.save(foreign.yolov8(18, behind=behind), tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match=rf"foreign\.onnx: node 'n\d+' \(\w+\): {message}"):
        import_onnx(tmp_path / "foreign.onnx")
