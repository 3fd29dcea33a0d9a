"""The TFLite runtime: what it keeps from the terminal, what it refuses, and how it says so."""

import importlib.util
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.damage import count_refused
from tests.support import ROOT, random_picture
from yolo_edge import Detector, InputError
from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime, interpreter_class
from yolo_edge.ondevice.runtimes.tflite_file import SPEC_FILE, read_metadata
from yolo_edge.ondevice.spec import METADATA_KEY


def test_a_path_and_bytes_are_the_same(tflite_bytes: bytes, tflite_file: Path, onnx_bytes: bytes) -> None:
    picture = random_picture(70, 50)
    detectors = [Detector(tflite_bytes), Detector(tflite_file), Detector(str(tflite_file), threads=2)]
    detectors.append(Detector(onnx_bytes))
    found = [detector(picture) for detector in detectors]
    assert len(found[0]) > 0
    for other in found[1:]:
        np.testing.assert_allclose(other.xyxy, found[0].xyxy, atol=1e-2)
        np.testing.assert_array_equal(other.class_id, found[0].class_id)
    assert [detector.runtime.name for detector in detectors] == ["tflite"] * 3 + ["onnxruntime"]
    assert detectors[2].runtime.threads == 2


def test_a_name_that_is_no_utf_8(tflite_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / b"caf\xe9.tflite".decode("utf-8", "surrogateescape")
    path.write_bytes(tflite_bytes)
    assert Detector(path).runtime.input_name == "images"


def test_runtimes_go_by_the_file(tflite_file: Path, onnx_file: Path) -> None:
    assert open_runtime(tflite_file, "tflite").name == "tflite"
    with pytest.raises(InputError, match=r"runtime onnxruntime does not run \.tflite files, tflite does"):
        open_runtime(tflite_file, "onnxruntime")
    with pytest.raises(InputError, match=r"runtime tflite does not run \.onnx files, onnxruntime, openvino, opencv do"):
        open_runtime(onnx_file, "tflite")


def python(script: str, *arguments: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)


def test_the_terminal_stays_quiet(tflite_file: Path) -> None:
    script = "import sys, yolo_edge; yolo_edge.Detector(sys.argv[1]); print('loaded')"
    done = python(script, tflite_file)
    assert (done.stdout, done.stderr) == ("loaded\n", "")
    # with standard error closed, too
    closed = f"import os; os.close(2); {script}"
    done = python(closed, tflite_file)
    assert done.stdout == "loaded\n"


def test_what_is_no_note_reaches_the_terminal(tflite_file: Path) -> None:
    script = (
        "import os\n"
        "from yolo_edge.ondevice.runtimes import tflite\n"
        "with tflite._without_notes():\n"
        "    os.write(2, b'INFO: a note\\nERROR: a complaint\\n')\n"
    )
    done = python(script)
    assert done.stderr == "ERROR: a complaint\n"


def test_nothing_that_runs_it(monkeypatch: pytest.MonkeyPatch, tflite_file: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="nothing that runs TFLite files is installed; run: pip install"):
        Detector(tflite_file)


def test_tflite_runtime_with_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "tflite_runtime" else None)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(InputError, match=r"tflite-runtime does not work with numpy 2\.1\.0; run: pip install"):
        interpreter_class()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"TFL3", "not a TFLite file"),
        (b"\0\0\0\0TFL2" + bytes(100), "not a TFLite file .its bytes 4 to 8 are b'TFL2', expected b'TFL3'"),
        (b"\x40\0\0\0TFL3" + bytes(20), "a damaged TFLite file"),
        (b"\x08\0\0\0TFL3" + bytes(200), "a damaged TFLite file|a TFLite file without a graph"),
    ],
)
def test_what_is_no_model(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        Detector(path)
    assert str(error.value).startswith(str(path))


def test_every_cut_is_noticed(tflite_bytes: bytes) -> None:
    end = tflite_bytes.rindex(b"PK\x05\x06")
    for length in [*range(8, 3000, 171), *range(3000, end, 1999), end]:
        with pytest.raises(InputError):
            Detector(tflite_bytes[:length])


def test_tensors_that_are_too_large(tflite_bytes: bytes) -> None:
    shape = open_runtime(tflite_bytes).input_shape
    at = tflite_bytes.index(struct.pack("<4i", *shape))
    for sides in ((1, 60000, 60000, 3), (1, 2**31 - 1, 2**31 - 1, 3), (1, -1, 32, 3)):
        data = bytearray(tflite_bytes)
        struct.pack_into("<4i", data, at, *sides)
        with pytest.raises(InputError, match=r"a damaged TFLite file \(tensor 0 has the shape"):
            TfliteRuntime(bytes(data))


def test_damaged_files_end_in_an_error_or_run(tflite_bytes: bytes) -> None:
    """Bytes of the structure changed: LiteRT checks much by itself, and never sees what leads out of the file."""
    assert count_refused(tflite_bytes, min(6000, len(tflite_bytes) // 2)) > 30


def with_zip(data: bytes, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A model with another zip behind it."""
    model = data[: data.index(b"PK\x03\x04")]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return model + stream.getvalue()


def test_files_without_a_spec(tflite_bytes: bytes) -> None:
    plain = tflite_bytes[: tflite_bytes.index(b"PK\x03\x04")]
    for data in (plain, with_zip(tflite_bytes, {"labels.txt": b"a\n"})):
        assert read_metadata(data, "model") == {}
        with pytest.raises(SpecError, match=r"carries no yolo_edge\.spec"):
            Detector(data)


def test_a_compressed_spec_is_read(tflite_bytes: bytes) -> None:
    text = read_metadata(tflite_bytes, "model")[METADATA_KEY].encode()
    packed = with_zip(tflite_bytes, {SPEC_FILE: text}, zipfile.ZIP_DEFLATED)
    assert Detector(packed).spec == Detector(tflite_bytes).spec


def test_specs_that_cannot_be_read(tflite_bytes: bytes) -> None:
    bomb = with_zip(tflite_bytes, {SPEC_FILE: bytes(1 << 25)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < len(tflite_bytes) + (1 << 16)
    broken = bytearray(with_zip(tflite_bytes, {SPEC_FILE: b"{}" * 100}))
    broken[broken.index(b"{}{}")] ^= 1
    for data, message in (
        (bomb, "larger than 16777216 bytes"),
        (with_zip(tflite_bytes, {SPEC_FILE: b"\xff\xfe"}), "is not UTF-8"),
        (with_zip(tflite_bytes, {SPEC_FILE: b"{"}), "not valid JSON"),
        (bytes(broken), "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            Detector(data)
