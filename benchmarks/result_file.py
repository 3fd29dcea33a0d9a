"""Results as files: written, read and checked; nothing in them is trusted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from yolo_edge.benchmarks.power import trace_of
from yolo_edge.benchmarks.results import BenchmarkResult, LeftOut, Profile, Samples
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_bytes

SCHEMA = 1
MAX_BYTES = 512 << 20  # of a result file


def to_json(result: BenchmarkResult) -> bytes:
    """One JSON document."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def read_result(path: Path) -> BenchmarkResult:
    """Read a result file.

    Raises:
        InputError: It is none, is of a newer version, or its samples are damaged.
    """
    return parse_result(read_bytes(path, MAX_BYTES), path)


def parse_result(data: bytes, path: Path) -> BenchmarkResult:
    """The result that was read from `path`.

    Raises:
        InputError: It is none, is of a newer version, or its samples are damaged.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).schema
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a result of `yolo-edge benchmark` ({error})") from error
    if version != SCHEMA:
        raise InputError(f"{path}: schema {version!r}, this yolo-edge reads {SCHEMA}: a newer one may have written it")
    try:
        result = msgspec.json.decode(data, type=BenchmarkResult)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a result of `yolo-edge benchmark` ({error})") from error
    for where, problem in _problems(result):
        raise InputError(f"{path}: {where}: {problem}")
    return _printable(result)


def _printable(result: BenchmarkResult) -> BenchmarkResult:
    """Names come from files, and go into pages and charts."""
    cells = tuple(
        msgspec.structs.replace(
            cell,
            model=printable(cell.model),
            device=printable(cell.device),
            runtime=printable(cell.runtime),
            runtime_version=None if cell.runtime_version is None else printable(cell.runtime_version),
            precision=None if cell.precision is None else printable(cell.precision),
            source=None if cell.source is None else printable(cell.source),
            profile=None if cell.profile is None else _printable_profile(cell.profile),
            energy_mj=cell.energy_mj and msgspec.structs.replace(cell.energy_mj, scope=printable(cell.energy_mj.scope)),
            energy_reason=None if cell.energy_reason is None else printable(cell.energy_reason),
        )
        for cell in result.cells
    )
    ratios = tuple(
        msgspec.structs.replace(
            ratio,
            a=printable(ratio.a),
            b=printable(ratio.b),
            runtime_a=None if ratio.runtime_a is None else printable(ratio.runtime_a),
            runtime_b=None if ratio.runtime_b is None else printable(ratio.runtime_b),
        )
        for ratio in result.ratios
    )
    left_out = tuple(
        LeftOut(model=printable(one.model), runtime=printable(one.runtime), reason=printable(one.reason))
        for one in result.left_out
    )
    return msgspec.structs.replace(result, cells=cells, ratios=ratios, left_out=left_out)


def _printable_profile(profile: Profile) -> Profile:
    operators = tuple(
        msgspec.structs.replace(one, name=printable(one.name), operator=printable(one.operator))
        for one in profile.operators
    )
    return msgspec.structs.replace(profile, operators=operators)


class _Version(msgspec.Struct):
    schema: Any


def _problems(result: BenchmarkResult) -> Iterator[tuple[str, str]]:
    if not result.cells:
        yield "cells", "there are none"
    seen: dict[tuple[str, str, str, int], int] = {}
    for i, cell in enumerate(result.cells):
        first = seen.setdefault((cell.model, cell.device, cell.runtime, cell.threads), i)
        if first != i:
            yield f"cells[{i}]", f"the same model, device, runtime and threads as cells[{first}]"
        low, high = cell.latency_ms.ci95
        if not (cell.latency_ms.p50 > 0 and 0 < low <= high):
            yield f"cells[{i}].latency_ms", "expected a p50 and an interval above 0"
        if cell.samples is None:
            continue
        try:
            _check_samples(cell.samples)
        except ValueError as error:
            yield f"cells[{i}].samples", str(error)

    for i, repeat in enumerate(result.power.repeats if result.power else ()):
        try:
            trace_of(repeat, result.power.meter)  # type: ignore[union-attr]
        except ValueError as error:
            yield f"power.repeats[{i}]", str(error)


def _check_samples(samples: Samples) -> None:
    """Raise ValueError where they cannot be used."""
    if "inference" not in samples.stages:
        raise ValueError('damaged samples: the stage "inference" is missing')
    if not all(samples.turns) or not samples.turns:
        raise ValueError("damaged samples: turns without inferences")
    if len(samples.at_s) != len(samples.turns):
        raise ValueError("damaged samples: times of turns")
    for stage in samples.stages:
        samples.stage(stage)
    samples.undisturbed_medians()
    if not (samples.turn_medians() > 0).all():
        raise ValueError("damaged samples: inferences of 0 ms")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a result."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "yolo-edge benchmark, schema version 1",
        **msgspec.json.schema(BenchmarkResult),
    }
