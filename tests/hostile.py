"""Hostile darknet files: random and real networks, changed by a table of named mutations.

A case follows from its seed and number alone, so that one that finds something can be made again. The tests take 500 of
them, `tools/fuzz_darknet.py` as many as it is told to.
"""

import array
import functools
import random
import re
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutations import MUTATIONS, ON_BYTES, ON_LINES, ON_WEIGHTS
from tests.mutations.draft import HEADER, Draft
from tests.support import random_darknet
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.spec import ModelSpec

MAX_MESSAGE = 500
_MAX_FITTING = 1_000_000


@dataclass(frozen=True)
class Case:
    """One pair of hostile files.

    `size` is one that the network is also imported at; `weights` are None where the file is missing.
    """

    seed: int
    number: int
    mutations: tuple[str, ...]
    cfg: bytes
    weights: bytes | None
    size: tuple[int, int]


def real_cfgs(folder: Path) -> list[bytes]:
    """The cfg texts below a folder, in the order of their names."""
    return [path.read_bytes() for path in sorted(folder.rglob("*.cfg"))]


def make_case(seed: int, number: int, cfgs: Sequence[bytes] = ()) -> Case:
    """Case `number` of `seed`; half of them from `cfgs`, where some are given."""
    rng = random.Random(f"{seed} {number}")  # noqa: S311
    # each mutation gets its turn as the first; some are followed by others
    first = list(MUTATIONS)[number % len(MUTATIONS)]
    names = [first, *rng.sample(list(MUTATIONS), rng.choice([0, 0, 0, 1, 2]))]
    if cfgs and first not in ON_WEIGHTS and rng.random() < 0.5:
        data = rng.choice(cfgs)
        weights = rng.choice([None, b"", rng.randbytes(4000), HEADER + struct.pack("<f", 0.5) * 1000])
    else:
        data, weights = _own_network(rng.randrange(200))
    draft = Draft(rng, data.decode("utf-8", "replace").splitlines(), b"", weights)
    for name in names:
        if name in ON_LINES and draft.lines:
            ON_LINES[name](draft)
    draft.data = "\n".join(draft.lines).encode("utf-8", "replace")
    for name in names:
        if name in ON_BYTES or name in ON_WEIGHTS:
            MUTATIONS[name](draft)
    size = (rng.choice([1, 31, 32, 64, 96, 320, 416, 8192]), rng.choice([0, 32, 64, 96, 320, 416, 9999]))
    if rng.random() < 0.6:
        size = (size[0], size[0])
    return Case(seed, number, tuple(names), draft.data, draft.weights, size)


def cases(seed: int, count: int, cfgs: Sequence[bytes] = ()) -> Iterator[Case]:
    """The first `count` cases of `seed`."""
    return (make_case(seed, number, cfgs) for number in range(count))


@functools.lru_cache(maxsize=200)
def _own_network(seed: int) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        cfg = random_darknet(Path(folder), seed)
        return cfg.read_bytes(), cfg.with_suffix(".weights").read_bytes()


def write_case(case: Case, folder: Path) -> Path:
    """Write net.cfg, and net.weights where there are some; returns the path of the cfg."""
    cfg = folder / "net.cfg"
    cfg.write_bytes(case.cfg)
    cfg.with_suffix(".weights").unlink(missing_ok=True)
    if case.weights is not None:
        cfg.with_suffix(".weights").write_bytes(case.weights)
    return cfg


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    `seconds` are those of its slowest import; writing what is accepted may take longer, as for any network.
    """

    accepted: bool
    seconds: float


def run_case(case: Case, folder: Path) -> Outcome:
    """Import at the network's own size and at another, with and without weights; write what is accepted.

    Raises:
        BaseException: Whatever is no `YoloEdgeError` with a message of one short line: a defect.
    """
    cfg = write_case(case, folder)
    attempts = [
        attempt(lambda: load_model(cfg), export=True),
        attempt(lambda: load_model(cfg, size=case.size), export=True),
        attempt(lambda: load_model(cfg, shapes_only=True), export=False),
    ]
    # with weights that fit, odd networks get further
    wanted = re.search(r"the network has (\d+) parameters", attempts[0][0] or "")
    if wanted and int(wanted[1]) <= _MAX_FITTING:
        numbers = array.array("f", [0.5] * int(wanted[1])).tobytes()
        cfg.with_suffix(".weights").write_bytes(HEADER + numbers)
        attempts.append(attempt(lambda: load_model(cfg), export=True))
    return Outcome(any(message is None for message, _ in attempts), max(seconds for _, seconds in attempts))


def attempt(load: Callable[[], SourceModel], export: bool) -> tuple[str | None, float]:
    """Load, then write if asked.

    Returns:
        None or the message of the refusal; the seconds of loading.

    Raises:
        BaseException: As `run_case`.
    """
    start = time.perf_counter()
    seconds = 0.0
    try:
        source = load()
        seconds = time.perf_counter() - start
        # what goes into the file can be read from it
        assert ModelSpec.from_json(source.spec.to_json()) == source.spec
        if export:
            write_onnx(canonicalize(source.graph), source.spec)
    except YoloEdgeError as error:
        message = str(error)
        assert 0 < len(message) <= MAX_MESSAGE, f"a message of {len(message)} characters: {message[:200]}"
        assert message.isprintable(), f"a message with control characters: {message!r}"
        return message, seconds or time.perf_counter() - start
    return None, seconds
