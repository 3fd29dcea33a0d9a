import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.machine import SETTINGS, Machine, subjects
from tests.support import ROOT
from yolo_edge.benchmarks.benchmark import Benchmark
from yolo_edge.benchmarks.journal import SUFFIX, Journal, Repeat
from yolo_edge.ondevice.errors import InputError, YoloEdgeError


@pytest.fixture(scope="module")
def repeats() -> list[Repeat]:
    machine = Machine({"a.onnx": 4})
    kept: list[Repeat] = []

    class Keeping:
        created, repeats = "2026-01-01T00:00:00+00:00", kept

        def add(self, repeat: Repeat) -> None:
            kept.append(repeat)

    Benchmark(subjects(["a.onnx"]), SETTINGS, machine.connect).run(Keeping())  # type: ignore[arg-type]
    return kept


def begun(folder: Path, repeats: list[Repeat]) -> Path:
    with Journal(folder, "key") as journal:
        for repeat in repeats:
            journal.add(repeat)
    (path,) = folder.glob(f"*{SUFFIX}")
    return path


def test_what_was_added_is_there_again(tmp_path: Path, repeats: list[Repeat]) -> None:
    begun(tmp_path, repeats[:2])
    with Journal(tmp_path, "key") as journal:
        assert journal.repeats == repeats[:2]
        journal.add(repeats[2])
    with Journal(tmp_path, "key") as journal:
        assert journal.repeats == repeats[:3]


@pytest.mark.parametrize("cut", [1, 10, 1000])
def test_a_line_that_was_cut_is_measured_again(tmp_path: Path, repeats: list[Repeat], cut: int) -> None:
    path = begun(tmp_path, repeats[:2])
    os.truncate(path, path.stat().st_size - cut)
    with Journal(tmp_path, "key") as journal:
        assert journal.repeats == repeats[:1]
        journal.add(repeats[1])
    with Journal(tmp_path, "key") as journal:
        assert journal.repeats == repeats[:2]


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"nonsense\n", b"[" * 100000, b'{"journal":1,"key":"key","created":"x"}\n']
)
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, text: bytes) -> None:
    other = tmp_path / f"benchmark-1{SUFFIX}"
    other.write_bytes(text)
    with Journal(tmp_path, "key") as journal:
        assert journal.repeats == []
        assert journal.path != other
    assert other.read_bytes() == text


def test_another_key_and_a_living_run_are_left_alone(tmp_path: Path, repeats: list[Repeat]) -> None:
    begun(tmp_path, repeats[:1])
    with Journal(tmp_path, "other") as journal:
        assert journal.repeats == []
    with Journal(tmp_path, "key") as living, Journal(tmp_path, "key") as second:
        assert len(living.repeats) == 1
        assert second.repeats == []
        assert second.path != living.path


def test_restart_forgets(tmp_path: Path, repeats: list[Repeat]) -> None:
    begun(tmp_path, repeats[:2])
    with Journal(tmp_path, "key", restart=True) as journal:
        assert journal.repeats == []
    assert list(tmp_path.iterdir()) == []  # nothing was measured: nothing stays


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        Journal(tmp_path / "file", "key")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond gives EFBIG, as a full disk gives ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, repeats: list[Repeat]) -> None:
    path = begun(tmp_path, repeats[:1])
    before = path.read_bytes()
    with Journal(tmp_path, "key") as journal:
        with largest_file(len(before) + 100), pytest.raises(YoloEdgeError, match="cannot be written") as raised:
            journal.add(repeats[1])
        assert not isinstance(raised.value, InputError)
    assert path.read_bytes() == before
    with Journal(tmp_path, "key") as journal:
        assert journal.repeats == repeats[:1]


def test_a_killed_process_leaves_its_lock() -> None:
    """A lock ends with its process, whatever ended that."""
    script = "import os, signal, sys, pathlib; from yolo_edge.benchmarks.journal import Journal; "
    script += "Journal(pathlib.Path(sys.argv[1]), 'key'); os.kill(os.getpid(), signal.SIGKILL)"
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", script, folder], cwd=ROOT / "tests", check=False, timeout=60)
        assert done.returncode == -9
        (left,) = Path(folder).iterdir()
        with Journal(Path(folder), "key") as journal:
            assert journal.path.stem == left.name.removesuffix(SUFFIX)
