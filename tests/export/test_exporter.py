import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support import random_darknet, random_picture
from yolo_edge import Detector, InputError
from yolo_edge.export import exporter, onnx_writer, rounding
from yolo_edge.export.exporter import export
from yolo_edge.export.job import ExportOptions, file_name
from yolo_edge.export.onnx_heads import append_head
from yolo_edge.export.options import FileOptions
from yolo_edge.export.tflite import heads as tflite_heads
from yolo_edge.export.verify import VerificationError
from yolo_edge.ondevice.spec import InputSpec, ModelSpec, NmsOptions


@pytest.mark.parametrize(
    ("size", "options", "name"),
    [
        ((320, 320), FileOptions(), "a.b-320-fp32.onnx"),
        ((352, 288), FileOptions("fp16"), "a.b-352x288-fp16.onnx"),
        ((320, 320), FileOptions(head="decoded"), "a.b-320-fp32-decoded.onnx"),
        ((320, 320), FileOptions(input="uint8"), "a.b-320-fp32-uint8.onnx"),
        ((320, 320), FileOptions("fp16", "nms", "uint8"), "a.b-320-fp16-nms-uint8.onnx"),
    ],
)
def test_file_names(size: tuple[int, int], options: FileOptions, name: str) -> None:
    assert file_name("a.b", size, options) == name
    assert file_name("a.b", size, options, "tflite") == name.removesuffix("onnx") + "tflite"


def test_every_file_that_was_asked_for(cfg: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    pictures = [random_picture(90, 70, seed) for seed in range(2)]
    result = export(
        cfg,
        tmp_path / "out",
        ExportOptions(precisions=["fp32", "fp16"], sizes=[None, (128, 64)]),
        pictures=pictures,
        progress=steps.append,
    )
    own = Detector(result.files[0].path).spec.input
    assert [(file.size, file.precision) for file in result.files] == [
        ((own.width, own.height), "fp32"),
        ((own.width, own.height), "fp16"),
        ((128, 64), "fp32"),
        ((128, 64), "fp16"),
    ]
    for file in result.files:
        path = Path(file.path)
        assert path == tmp_path / "out" / file_name(cfg.stem, file.size, FileOptions(file.precision))
        assert path.stat().st_size == file.bytes
        assert (file.format, file.head, file.input, file.verified) == ("onnx", "raw", "float32", True)
        spec = Detector(path).spec
        assert (spec.input.width, spec.input.height, spec.precision) == (*file.size, file.precision)
        assert spec.provenance.sha256[cfg.name] == hashlib.sha256(cfg.read_bytes()).hexdigest()
    assert result.files[0].speed_vs_fp32 == 1
    assert result.files[1].speed_vs_fp32 > 0
    assert len(steps) == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        Path(file.path).name for file in result.files
    )


def test_exporting_twice_gives_the_same_bytes(cfg: Path, tmp_path: Path) -> None:
    files = [export(cfg, tmp_path / name).files[0].path for name in ("a", "b")]
    assert Path(files[0]).read_bytes() == Path(files[1]).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["coreml"]}, "format 'coreml': there is onnx and tflite"),
        ({"precisions": ["fp32", "int4"]}, "precision 'int4': there is fp32 and fp16"),
        ({"sizes": [None, (33, 32)]}, "size 33x32"),
        ({"names": "coco"}, "names coco: 80 names"),
        ({"resize": "crop"}, "resize"),
        ({"head": "boxes"}, "head 'boxes': there is raw and decoded and nms"),
        ({"input": "int8"}, "int8 inputs and outputs go with --precision int8"),
        ({"head": "nms", "nms": NmsOptions(iou=2)}, "iou: expected 0..1, got 2"),
        ({"precisions": []}, "precision: none was given"),
        ({"head": "nms", "nms": NmsOptions(max_detections=10**9)}, "max_detections: at most 10000 rows"),
    ],
)
def test_nothing_is_written_when_something_is_wrong(cfg: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(cfg, tmp_path / "out", ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_write_nothing(cfg: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.weights: no such file"):
        export(cfg, tmp_path / "out", weights=tmp_path / "missing.weights")
    assert list(tmp_path.iterdir()) == []


def test_truncated_weights_write_nothing(tmp_path: Path) -> None:
    cfg = random_darknet(tmp_path, 5)
    weights = cfg.with_suffix(".weights")
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(InputError, match="too short"):
        export(cfg, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_fails_is_not_left_behind(cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quarter(weight: np.ndarray) -> np.ndarray:
        return (weight * 0.25).astype(np.float16)

    monkeypatch.setattr(rounding, "to_float16", quarter)
    monkeypatch.setattr(rounding, "_WORST_NOISE", 1)
    with pytest.raises(VerificationError, match=r"fp16.onnx: fp16 has an SNR of"):
        export(cfg, tmp_path, ExportOptions(precisions=["fp16"]))
    assert list(tmp_path.iterdir()) == []


def test_a_tflite_file_that_fails_is_not_left_behind(
    cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "to_float16", lambda weight: (weight * 0.25).astype(np.float16))
    monkeypatch.setattr(rounding, "_WORST_NOISE", 1)
    with pytest.raises(VerificationError, match=r"fp16.tflite: fp16 has an SNR of"):
        export(cfg, tmp_path, ExportOptions(formats=["tflite"], precisions=["fp16"]))
    assert list(tmp_path.iterdir()) == []


def test_without_a_runtime_nothing_is_written(cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="nothing that runs TFLite files is installed"):
        export(cfg, tmp_path / "out", ExportOptions(formats=["onnx", "tflite"]))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_the_old_file(cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(export(cfg, tmp_path).files[0].path)
    path.write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "write_atomically", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(cfg, tmp_path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_is_a_file(cfg: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="is not a folder"):
        export(cfg, tmp_path / "out")


@pytest.mark.parametrize("head", ["decoded", "nms"])
def test_a_decoder_that_is_wrong_is_not_left_behind(
    cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    def shifted(spec: ModelSpec) -> ModelSpec:
        heads = tuple(dataclasses.replace(item, scale_xy=item.scale_xy + 0.5) for item in spec.heads)
        return dataclasses.replace(spec, heads=heads)

    monkeypatch.setattr(onnx_writer, "append_head", lambda model, spec, *rest: append_head(model, shifted(spec), *rest))
    decode = tflite_heads.decode_heads
    monkeypatch.setattr(
        tflite_heads, "decode_heads", lambda tape, spec, *rest, **more: decode(tape, shifted(spec), *rest, **more)
    )
    for suffix in ("onnx", "tflite"):
        with pytest.raises(VerificationError, match=f"{head}.{suffix}: the decoder in the file differs"):
            export(cfg, tmp_path, ExportOptions(formats=[suffix], head=head))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["LICENSE", "LICENCE.txt", "COPYING"])
def test_a_licence_beside_the_weights_travels(cfg: Path, tmp_path: Path, name: str) -> None:
    weights = Path(shutil.copy(cfg.with_suffix(".weights"), tmp_path))
    options = {"weights": weights}
    plain = export(cfg, tmp_path / "a", **options)
    assert Detector(plain.files[0].path).spec.provenance.licence is None
    (tmp_path / name).write_text("\n\n    Some   License 2.0\nmore\n")
    found = export(cfg, tmp_path / "b", **options)
    assert Detector(found.files[0].path).spec.provenance.licence == f"{name}: Some License 2.0"
    given = export(cfg, tmp_path / "c", ExportOptions(licence="MIT"), **options)
    assert Detector(given.files[0].path).spec.provenance.licence == "MIT"


def test_what_only_begins_like_a_licence_is_none(cfg: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copy(cfg.with_suffix(".weights"), tmp_path))
    for name in ("license_plate.cfg", "license-plate.names", "licensed.txt"):
        (tmp_path / name).write_text("plate")
    (tmp_path / "LICENSE").mkdir()
    (file,) = export(cfg, tmp_path / "out", weights=weights).files
    assert Detector(file.path).spec.provenance.licence is None


def test_a_wrong_decoder_is_found_where_the_network_finds_nothing(
    cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained networks may find nothing in noise and scenes: the decoder is checked on every box all the same."""

    def quiet(picture_spec: InputSpec) -> list[np.ndarray]:
        return [np.zeros((picture_spec.height, picture_spec.width, 3), np.uint8)]

    def shifted(spec: ModelSpec) -> ModelSpec:
        heads = tuple(dataclasses.replace(item, stride=item.stride) for item in spec.heads)
        anchors = tuple((width * 1.5, height) for width, height in heads[0].anchors)
        return dataclasses.replace(spec, heads=(dataclasses.replace(heads[0], anchors=anchors), *heads[1:]))

    monkeypatch.setattr("yolo_edge.export.verify.own_pictures", quiet)
    monkeypatch.setattr(onnx_writer, "append_head", lambda model, spec, *rest: append_head(model, shifted(spec), *rest))
    options = ExportOptions(head="nms", nms=NmsOptions(confidence=0.999999))
    with pytest.raises(VerificationError, match="the decoder in the file differs"):
        export(cfg, tmp_path, options)
