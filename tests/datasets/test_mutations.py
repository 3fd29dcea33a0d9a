"""Damaged datasets give an error of one line, or a dataset; nothing else."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.support import WRITERS
from yolo_edge.datasets import Dataset, read_dataset
from yolo_edge.ondevice.errors import InputError

SOURCES = {"coco": "instances.json", "voc": "", "yaml": "data.yaml", "yolo": ""}
PIECES = (
    b"nan", b"-1", b"1e309", b"9" * 30, b"\0", b"\xff", b"{", b"[", b'"', b"<", b"&a;", b"*x", b"null", b"true", b"1.5",
    b"../", b"\n", b": ", b"!!python/name:os.system", b"\xf0\x9f\x98\x80",
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.random()
        if kind < 0.5:
            changed[at : at + rng.randint(0, 8)] = rng.choice(PIECES)
        elif kind < 0.7 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind < 0.9:
            del changed[at : at + rng.randint(1, 20)]
        else:
            del changed[at:]
    return bytes(changed)


def attempt(path: Path, training: bool, skip_bad: bool) -> tuple[Dataset | None, str]:
    try:
        return read_dataset(path, training=training, skip_bad=skip_bad), ""
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("form", WRITERS)
def test_mutated(form: str, tmp_path: Path) -> None:
    rng = random.Random(form)  # noqa: S311 - a seed, no secret
    WRITERS[form](tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    read = 0
    for _ in range(150):
        path = rng.choice(files)
        original = path.read_bytes()
        path.write_bytes(mutate(original, rng))
        for skip_bad in (False, True):
            dataset, problem = attempt(tmp_path / SOURCES[form], rng.random() < 0.5, skip_bad)
            assert "\n" not in problem
            if dataset is None:
                continue
            read += 1
            assert np.isfinite(dataset.xyxy).all()
            assert (dataset.class_id < len(dataset.names)).all()
            assert (dataset.image < len(dataset.paths)).all()
            assert (dataset.sizes > 0).all()
        path.write_bytes(original)
    assert read > 100
