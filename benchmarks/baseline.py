"""A run against an earlier one: what became slower."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from yolo_edge.benchmarks.figures import LEAST_REPEATS, verdict_of
from yolo_edge.benchmarks.results import BenchmarkResult, Cell, key_of
from yolo_edge.ondevice.errors import InputError
from yolo_edge.timing import Ratio, unpaired_ratio

Verdict = Literal["faster", "slower", "no difference", "too few repeats", "not valid", "emulated", "missing", "new"]
_Key = tuple[str, str, str, int]
_Found = tuple[BenchmarkResult, Cell]

# of the settings: the threads are in the cell's key, the picture's path says less than its content
_NOT_COMPARED = ("threads", "runtime", "image", "limits")


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One cell in both runs.

    Attributes:
        model: Of the cell.
        device: Of the cell.
        runtime: Of the cell.
        threads: Of the cell.
        verdict: "not valid": one of the two was throttled or disturbed; "too few repeats": one of the two has less
            than 3; "emulated": its times mean nothing, and nothing is judged; "missing": only the baseline has it;
            "new": only this run.
        ratio: This run's median inference as a multiple of the baseline's; None where one of them is missing.
        ci95: Its interval.
        old_ms: The baseline's median.
        new_ms: This run's.
        reason: Of "not valid".
        notes: What differed besides the time: settings, versions, the model file.
    """

    model: str
    device: str
    runtime: str
    threads: int
    verdict: Verdict
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    old_ms: float | None = None
    new_ms: float | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.model} ({self.runtime}, threads {self.threads})"


def compare(results: Sequence[BenchmarkResult], baselines: Sequence[BenchmarkResult]) -> list[Comparison]:
    """Compare cell by cell: the same file name, device, runtime and number of threads.

    The runs were not taken side by side: what changed on the machine between them is in the ratio, and no interval
    knows of it. What is known to differ is in the notes of each comparison; the host's name is among them, since a
    container has another one each time.

    Raises:
        InputError: Nothing can be compared, runs of different machines, or a cell that is there twice.
    """
    machines = {result.host.hardware for result in (*results, *baselines)}
    if len(machines) > 1:
        raise InputError(f"baseline: runs of different machines cannot be compared: {'; '.join(sorted(machines))}")
    new, old = _by_key(results, "the results"), _by_key(baselines, "the baseline")
    if not set(new) & set(old):
        raise InputError(
            "baseline: no cell is in both: the same model file names, device, runtime and threads are compared"
        )
    return [_compare(key, old.get(key), new.get(key)) for key in dict.fromkeys([*new, *old])]


def problems(comparisons: Sequence[Comparison], limit: float) -> list[str]:
    """What speaks against this run: cells that are slower by more than the limit, and those that cannot be judged.

    Args:
        comparisons: Of the run.
        limit: As a fraction: 0.05 lets a cell be slower by 5 %.

    Returns:
        One sentence a problem. Emulated cells are never one.
    """
    found = []
    for item in comparisons:
        if item.verdict == "slower" and item.ratio is not None and item.ci95 is not None and item.ratio > 1 + limit:
            interval = f"[{item.ci95[0]:.3f}, {item.ci95[1]:.3f}]"
            found.append(f"{item.name} takes {item.ratio:.3f} {interval} times the baseline's")
        elif item.verdict == "not valid":
            found.append(f"{item.name} cannot be judged, measure again ({item.reason})")
        elif item.verdict == "too few repeats":
            found.append(f"{item.name} cannot be judged, measure at least {LEAST_REPEATS} repeats")
        elif item.verdict == "missing":
            found.append(f"{item.name} is in the baseline only")
    return found


def differences(comparisons: Sequence[Comparison]) -> list[str]:
    """The notes of all comparisons, each once, with the cells that it is about."""
    about: dict[str, list[str]] = {}
    for item in comparisons:
        for note in item.notes:
            about.setdefault(note, []).append(item.name)
    both = sum(item.ratio is not None for item in comparisons)
    return [note if len(names) == both else f"{', '.join(names)}: {note}" for note, names in about.items()]


def _by_key(results: Sequence[BenchmarkResult], what: str) -> dict[_Key, _Found]:
    found: dict[_Key, _Found] = {}
    for result in results:
        for cell in result.cells:
            key = key_of(cell)
            if key in found:
                raise InputError(f"baseline: {key[0]} with threads {key[3]} is twice in {what}: give one run of each")
            found[key] = (result, cell)
    return found


def _compare(key: _Key, old: _Found | None, new: _Found | None) -> Comparison:
    model, device, runtime, threads = key
    verdict: Verdict
    ratio = reason = None
    notes: tuple[str, ...] = ()
    cells = [found[1] for found in (old, new) if found is not None]
    if old is None or new is None:
        verdict = "new" if old is None else "missing"
    else:
        ratio, notes = _ratio(new[1], old[1]), tuple(_differences(old, new))
        verdict = verdict_of(ratio, min(len(cell.repeats_ms) for cell in cells))
        if not all(cell.valid for cell in cells):
            verdict = "not valid"
            named = zip(("baseline", "this run"), cells, strict=True)
            reason = "; ".join(f"{which}: {cell.invalid_reason or verdict}" for which, cell in named if not cell.valid)
    if any(cell.emulated for cell in cells):
        verdict, reason = "emulated", None
    return Comparison(
        model=model,
        device=device,
        runtime=runtime,
        threads=threads,
        verdict=verdict,
        ratio=None if ratio is None else ratio.value,
        ci95=None if ratio is None else (ratio.low, ratio.high),
        old_ms=None if old is None else old[1].latency_ms.p50,
        new_ms=None if new is None else new[1].latency_ms.p50,
        reason=reason,
        notes=notes,
    )


def _differences(old: _Found, new: _Found) -> Iterator[str]:
    """What differs besides the time, baseline first."""
    before, after = old[0].host, new[0].host
    facts = [(name, getattr(before, name), getattr(after, name)) for name in ("name", "os", "kernel", "python")]
    packages = sorted({*before.versions, *after.versions})
    facts += [(name, before.versions.get(name), after.versions.get(name)) for name in packages]
    facts += [("input", old[1].input, new[1].input)]
    facts += [
        (f"setting {name}", getattr(old[0].settings, name), getattr(new[0].settings, name))
        for name in old[0].settings.__struct_fields__
        if name not in _NOT_COMPARED
    ]
    titles = {"name": "host name"}
    yield from (f"{titles.get(name, name)}: {was} before, {now} now" for name, was, now in facts if was != now)
    if old[1].sha256 != new[1].sha256:
        yield f"model file: sha256 {old[1].sha256[:12]} before, {new[1].sha256[:12]} now"


def _ratio(new: Cell, old: Cell) -> Ratio:
    if new.samples is not None and old.samples is not None:
        return unpaired_ratio(new.samples.turn_medians(), old.samples.turn_medians())
    # without samples the two intervals are what is known: in logarithms, where a ratio is a difference, the half widths
    # add as those of independent errors do
    (new_low, new_high), (old_low, old_high) = (
        [math.log(end / cell.latency_ms.p50) for end in cell.latency_ms.ci95] for cell in (new, old)
    )
    value = new.latency_ms.p50 / old.latency_ms.p50
    low, high = math.hypot(new_low, old_high), math.hypot(new_high, old_low)
    return Ratio(value, value * math.exp(-low), value * math.exp(high))
