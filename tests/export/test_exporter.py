import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.support import random_darknet, random_picture
from yolo_edge import Detector, InputError
from yolo_edge.export import exporter
from yolo_edge.export.exporter import export, file_name
from yolo_edge.export.verify import VerificationError


@pytest.mark.parametrize(("size", "name"), [((320, 320), "a.b-320-fp32.onnx"), ((352, 288), "a.b-352x288-fp32.onnx")])
def test_file_names(size: tuple[int, int], name: str) -> None:
    assert file_name("a.b", size, "fp32", "onnx") == name


def test_every_file_that_was_asked_for(cfg: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    pictures = [random_picture(90, 70, seed) for seed in range(2)]
    result = export(
        cfg,
        tmp_path / "out",
        precisions=["fp32", "fp16"],
        sizes=[None, (128, 64)],
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
        assert path == tmp_path / "out" / file_name(cfg.stem, file.size, file.precision, "onnx")
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
        ({"formats": ["tflite"]}, "format 'tflite': there is onnx"),
        ({"precisions": ["fp32", "int4"]}, "precision 'int4': there is fp32 and fp16"),
        ({"sizes": [None, (33, 32)]}, "size 33x32"),
        ({"names": "coco"}, "names coco: 80 names"),
        ({"resize": "crop"}, "resize"),
        ({"weights": Path("missing.weights")}, "missing.weights: no such file"),
    ],
)
def test_nothing_is_written_when_something_is_wrong(cfg: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(cfg, tmp_path / "out", **options)
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

    monkeypatch.setattr("yolo_edge.export.onnx_writer.to_float16", quarter)
    with pytest.raises(VerificationError, match=r"fp16.onnx: fp16 has an SNR of"):
        export(cfg, tmp_path, precisions=["fp16"])
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
