"""NanoDet, FastestDet, Yolo-FastestV2, YOLOv6, PP-YOLOE, and one-to-one heads, from random weights, in both formats."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.export import foreign
from tests.tflite_support import operators
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.exporter import export
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.job import ExportOptions, Int8Options
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.decode import decode_cells
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError, SpecError
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import ModelSpec, check_spec

Boxes = tuple[np.ndarray, np.ndarray]
Decode = Callable[[list[np.ndarray]], Boxes]

ANCHORS = [(10.0, 13.0), (16.0, 30.0), (62.0, 45.0), (59.0, 119.0)]
IMAGE = np.random.default_rng(2).integers(0, 256, (96, 64, 3), np.uint8)


def save(folder: Path, model: onnx.ModelProto, name: str = "foreign") -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64))))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    odds = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(odds / odds.sum(axis=axis, keepdims=True))


def decode_fastestdet(outputs: list[np.ndarray]) -> Boxes:
    """Cell by cell, as its example does."""
    cells, boxes, scores = outputs[0][0].transpose(1, 2, 0), [], []
    for j, row in enumerate(cells):
        for i, data in enumerate(row):
            x, y = (i + np.tanh(data[1])) / cells.shape[1], (j + np.tanh(data[2])) / cells.shape[0]
            half = logistic(data[3:5]) / 2
            boxes.append(np.array([x - half[0], y - half[1], x + half[0], y + half[1]]) * [64, 96, 64, 96])
            scores.append(data[0] ** 0.6 * data[5:] ** 0.4)
    return np.array(boxes), np.array(scores)


def decode_fastestv2(outputs: list[np.ndarray]) -> Boxes:
    boxes, scores = [], []
    for level in range(2):
        reg, objectness, classes = (array[0] for array in outputs[3 * level : 3 * level + 3])
        shared = softmax(classes, 0)
        for j, i, k in np.ndindex(*objectness.shape[1:], len(objectness)):
            t = logistic(reg[4 * k : 4 * k + 4, j, i])
            center = (2 * t[:2] - 0.5 + [i, j]) * (16 << level)
            half = (2 * t[2:]) ** 2 * ANCHORS[2 * level + k] / 2
            boxes.append(np.concatenate([center - half, center + half]))
            scores.append(logistic(objectness[k, j, i]) * shared[:, j, i])
    return np.array(boxes), np.array(scores)


def decode_nanodet(offset: float) -> Decode:
    def decode(outputs: list[np.ndarray]) -> Boxes:
        levels = len(outputs) // 2
        boxes = []
        for level, reg in enumerate(outputs[levels:]):
            stride = 8 << level
            columns = 64 // stride
            away = softmax(reg[0].reshape(-1, 4, 8), 2) @ np.arange(8) * stride
            cell = np.arange(len(away))
            place = (np.stack([cell % columns, cell // columns], axis=1) + offset) * stride
            boxes.append(np.concatenate([place - away[:, :2], place + away[:, 2:]], axis=1))
        return np.concatenate(boxes), np.concatenate([array[0] for array in outputs[:levels]])

    return decode


@dataclasses.dataclass(frozen=True)
class Case:
    model: onnx.ModelProto
    decode: Decode
    family: str
    strides: tuple[int, ...]
    anchors: tuple[tuple[float, float], ...] = ()
    mean: tuple[float, float, float] = (0, 0, 0)
    deviation: tuple[float, float, float] = (255, 255, 255)


_COLOURS = {"mean": (103.53, 116.28, 123.675), "deviation": (57.375, 57.12, 58.395)}
CASES = {
    "fastestdet": Case(foreign.fastestdet(), decode_fastestdet, "fastestdet", (16,)),
    "fastestdet-split": Case(foreign.fastestdet(kind="split", seed=3), decode_fastestdet, "fastestdet", (16,)),
    "fastestv2": Case(foreign.fastestv2(), decode_fastestv2, "yolo_fastestv2", (16, 32), tuple(ANCHORS)),
    "nanodet": Case(foreign.nanodet(), decode_nanodet(0.5), "dfl", (8, 16, 32), **_COLOURS),
    "nanodet-plus": Case(foreign.nanodet(plus=True), decode_nanodet(0), "nanodet_plus", (8, 16, 32, 64), **_COLOURS),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_boxes_are_those_of_the_originals_decoder(case: Case, tmp_path: Path) -> None:
    path = save(tmp_path, case.model)
    options = ExportOptions(formats=("onnx", "tflite"), anchors=case.anchors)
    for file in export(path, tmp_path / "out", options).files:
        detector = Detector(file.path)
        spec = detector.spec
        assert [head.family for head in spec.heads] == [case.family] * len(case.strides)
        assert tuple(head.stride for head in spec.heads) == case.strides
        tensor, _ = detector.preprocess(np.ascontiguousarray(IMAGE[: spec.input.height]))
        pixels = tensor.transpose(0, 3, 1, 2) if file.format == "tflite" else tensor
        # BGR, as all of them take it
        taken = (pixels[:, ::-1] * 255 - np.reshape(case.mean, (3, 1, 1))) / np.reshape(case.deviation, (3, 1, 1))
        original = new_session(str(path)).run(None, {"picture": np.ascontiguousarray(taken, np.float32)})
        boxes, scores = case.decode(original)
        found, confidence, class_id = decode_cells(spec, detector.runtime.run(tensor), -1.0)
        assert len(found) == len(boxes)
        # the order of anchors and cells is the decoder's own
        order, theirs = (np.lexsort(np.round(rows, 1).T) for rows in (found, boxes))
        np.testing.assert_allclose(found[order], boxes[theirs], atol=0.02, rtol=1e-3)
        np.testing.assert_allclose(np.sort(confidence), np.sort(scores.max(axis=1)), atol=1e-4)
        np.testing.assert_array_equal(np.bincount(class_id), np.bincount(scores.argmax(axis=1)))
        if file.format == "tflite":
            assert "TRANSPOSE" not in operators(Path(file.path).read_bytes())


@pytest.mark.parametrize("head", ["decoded", "nms"])
def test_files_that_decode_by_themselves(case: Case, head: str, tmp_path: Path) -> None:
    # the export compares every box with ours outside
    options = ExportOptions(formats=("onnx", "tflite"), head=head, anchors=case.anchors)
    for file in export(save(tmp_path, case.model), tmp_path / "out", options).files:
        assert Detector(file.path).spec.heads[0].family in ("decoded", "nms", "detection_postprocess")


def test_int8(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [tmp_path / f"{i}.png" for i in range(8)]
    for picture in pictures:
        cv2.imwrite(str(picture), rng.integers(0, 256, (96, 64, 3), np.uint8))
    options = ExportOptions(formats=("onnx", "tflite"), precisions=("int8",), int8=Int8Options(pictures, count=6))
    for file in export(save(tmp_path, foreign.fastestdet()), tmp_path / "out", options).files:
        assert min(file.snr_db) > 15


ONCE = {
    "yolov10": (foreign.yolov8(form="once"), "dfl"),
    "yolo26": (foreign.yolov8(bins=1, form="once", seed=4), "ltrb"),
    "one-class": (foreign.yolov8(13, form="once", classes=1), "dfl"),
}


@pytest.mark.parametrize("name", ONCE)
def test_one_to_one_heads_need_no_nms(name: str, tmp_path: Path) -> None:
    model, family = ONCE[name]
    path = save(tmp_path, model, name)
    for head in ("raw", "decoded"):
        exported = export(path, tmp_path / head, ExportOptions(formats=("onnx", "tflite"), head=head))
        assert any("each object one box" in note for note in exported.notes)
        for file in exported.files:
            detector = Detector(file.path, confidence=0.0, max_detections=20, iou=0.0)
            assert all(item.one_to_one for item in detector.spec.heads)
            assert head == "decoded" or detector.spec.heads[0].family == family
            found = detector(IMAGE)
            pixels, _ = Detector(import_and_write(path)).preprocess(IMAGE)
            (rows,) = new_session(str(path)).run(None, {"picture": pixels})
            expected = rows[0]
            np.testing.assert_allclose(found.confidence, expected[:, 4], atol=1e-4)
            whole = np.clip(expected[:, :4], 0, [64, 96, 64, 96])  # detections are cut at the picture
            rows_of = [sorted(map(tuple, np.round(boxes, 0))) for boxes in (found.xyxy, whole)]
            np.testing.assert_allclose(rows_of[0], rows_of[1], atol=1.01)
            np.testing.assert_array_equal(np.sort(found.class_id), np.sort(expected[:, 5]))
    with pytest.raises(InputError, match="each object one box, there is nothing to suppress"):
        export(path, tmp_path / "nms", ExportOptions(head="nms"))


def import_and_write(path: Path) -> bytes:
    source = import_onnx(path)
    return write_onnx(canonicalize(source.graph), source.spec)


def test_heads_are_one_to_one_together(tmp_path: Path) -> None:
    spec = import_onnx(save(tmp_path, foreign.yolov8(form="once"))).spec
    assert ModelSpec.from_json(spec.to_json()) == spec
    mixed = dataclasses.replace(spec, heads=(spec.heads[0], dataclasses.replace(spec.heads[1], one_to_one=False)))
    with pytest.raises(SpecError, match=r"heads\[1\]\.one_to_one: the same for all heads"):
        check_spec(mixed)


DECODED = {
    "yolov7": (foreign.yolov5(implicit=True), "yolov5"),
    "yolov6-n": (foreign.yolov8(bins=1, ones=True), "ltrb"),
    "yolov6-m": (foreign.yolov8(bins=17, ones=True), "dfl"),
    "pp-yoloe": (foreign.yolov8(13, bins=17, form="separate"), "dfl"),
    "pp-yoloe-12": (foreign.yolov8(12, bins=17, form="separate", sums="matmul"), "dfl"),
    "pp-yoloe-scaled": (foreign.yolov8(13, bins=17, form="separate", scaled=True), "dfl"),
}


def decoded_by_itself(path: Path, pixels: np.ndarray) -> Boxes:
    """Corners and scores as the file computes them."""
    session = new_session(str(path))
    feeds = {value.name: np.ones(value.shape, np.float32) for value in session.get_inputs()}
    outputs = session.run(None, {**feeds, "picture": pixels})
    if len(outputs) == 2:
        return outputs[0][0], outputs[1][0].T
    rows = outputs[0][0]
    low, high = rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2
    return np.concatenate([low, high], axis=1), rows[:, 4:5] * rows[:, 5:]


@pytest.mark.parametrize("name", DECODED)
def test_boxes_are_those_that_the_file_itself_decodes(name: str, tmp_path: Path) -> None:
    model, family = DECODED[name]
    path = save(tmp_path, model, name)
    exported = export(path, tmp_path / "out", ExportOptions(formats=("onnx", "tflite")))
    assert any("scale_factor is taken as 1" in note for note in exported.notes) == ("scaled" in name)
    for file in exported.files:
        detector = Detector(file.path)
        assert [head.family for head in detector.spec.heads] == [family] * 3
        assert not detector.spec.heads[0].one_to_one
        assert len(detector.spec.names) == 3
        tensor, _ = detector.preprocess(IMAGE)
        pixels = tensor.transpose(0, 3, 1, 2) if file.format == "tflite" else tensor
        boxes, scores = decoded_by_itself(path, np.ascontiguousarray(pixels))
        found, confidence, class_id = decode_cells(detector.spec, detector.runtime.run(tensor), -1.0)
        assert len(found) == len(boxes)
        order, theirs = (np.lexsort(np.round(rows, 1).T) for rows in (found, boxes))
        np.testing.assert_allclose(found[order], boxes[theirs], atol=0.02, rtol=1e-3)
        np.testing.assert_allclose(np.sort(confidence), np.sort(scores.max(axis=1)), atol=1e-4)
        np.testing.assert_array_equal(np.bincount(class_id), np.bincount(scores.argmax(axis=1)))


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    model = foreign.yolov8(13, bins=17, form="separate", scaled=True)
    for name in ("im_shape", "scale_factors"):
        renamed = onnx.ModelProto()
        renamed.CopyFrom(model)
        renamed.graph.input[1].name = name
        for node in renamed.graph.node:
            for i, value in enumerate(node.input):
                node.input[i] = name if value == "scale_factor" else value
        with pytest.raises(InputError, match=f"its inputs are: picture, {name}; export it without the others, or cut"):
            import_onnx(save(tmp_path, renamed))
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(InputError, match="its inputs are: picture, scale_factor"):
        import_onnx(save(tmp_path, model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (foreign.yolov5(form="raw"), "neither which anchors nor how they are meant .*--spec FILE"),
        (foreign.fastestdet(squash=False), "not a detector of a family that is known"),
        (foreign.yolov8(form="raw", bins=1), "not a detector of a family that is known"),
        (foreign.yolov8(form="raw", classes=64), "not a detector of a family that is known"),
    ],
    ids=["anchors", "one-grid", "distances", "both-may-be-bins"],
)
def test_what_may_be_several_families_is_refused(model: onnx.ModelProto, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        import_onnx(save(tmp_path, model))


def test_both_exports_of_yolo_fastestv2_are_one(tmp_path: Path) -> None:
    specs = [
        import_onnx(save(tmp_path, foreign.fastestv2(form=form)), anchors=ANCHORS).spec for form in ("raw", "joined")
    ]
    assert specs[0].heads == specs[1].heads
    assert specs[0].heads[1].anchors == ((62.0, 45.0), (59.0, 119.0))


def test_anchors_where_they_do_not_belong(tmp_path: Path) -> None:
    path = save(tmp_path, foreign.yolov5())
    with pytest.raises(InputError, match=r"--anchors: are for files that lack theirs; .* has its anchors in it"):
        load_model(path, anchors=ANCHORS)
    with pytest.raises(InputError, match="--anchors: go without --spec"):
        load_model(path, anchors=ANCHORS, spec=save_spec(tmp_path, path))
    (file,) = export(path, tmp_path / "out").files
    with pytest.raises(InputError, match=r"--anchors: .* was written by yolo-edge"):
        load_model(Path(file.path), anchors=ANCHORS)
    with pytest.raises(InputError, match=r"--anchors: goes with an .onnx"):
        load_model(tmp_path / "a.cfg", anchors=ANCHORS)


def save_spec(folder: Path, path: Path) -> Path:
    target = folder / "spec.json"
    target.write_text(import_onnx(path).spec.to_json())
    return target
