import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.benchmarks.machine import SETTINGS, Machine, measure
from yolo_edge.benchmarks.accuracy import Accuracy, Measured
from yolo_edge.benchmarks.choice import QUANTITIES, Basis, Candidate, Choice, Quantity, choose, find_candidates
from yolo_edge.benchmarks.inputs import on_one_dataset, read_inputs
from yolo_edge.benchmarks.result_file import to_json
from yolo_edge.benchmarks.results import BenchmarkResult, Energy
from yolo_edge.ondevice.errors import InputError

# few values, so that ties, and figures that are just at a limit, are usual
MS = st.sampled_from([1.0, 2.0, 3.0, 4.0])
MJ = st.sampled_from([None, 5.0, 10.0, 20.0])
MAP = st.sampled_from([None, 0.1, 0.2, 0.3])


@dataclass(frozen=True)
class Plain:
    """A candidate in numbers, for brute force."""

    ms: float
    spread: float
    mj: float | None
    accuracy: float | None
    valid: bool
    emulated: bool


PLAIN = st.builds(
    Plain,
    MS,
    st.sampled_from([0.0, 0.3, 1.5]),
    MJ,
    MAP,
    st.sampled_from([True, True, False]),
    st.sampled_from([False, False, True]),
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "latency": st.sampled_from([1.0, 2.0, 2.5]),
        "energy": st.sampled_from([5.0, 10.0]),
        "mAP": st.sampled_from([0.1, 0.2, 0.25]),
        "size": st.sampled_from([0.5, 1.0]),
    },
)


def template(kept: list[BenchmarkResult] = []) -> BenchmarkResult:  # noqa: B006 - made once
    if not kept:
        kept.append(measure(Machine({"a.onnx": 4}), replace(SETTINGS, repeats=1, seconds=0.2)))
    return kept[0]


def result_of(listed: list[Plain]) -> tuple[BenchmarkResult, list[Accuracy]]:
    base = template().cells[0]
    cells, accuracies = [], []
    for i, plain in enumerate(listed):
        latency = replace(
            base.latency_ms, p50=plain.ms, ci95=(plain.ms * (1 - plain.spread / 4), plain.ms + plain.spread)
        )
        energy = None if plain.mj is None else Energy(gross=plain.mj, net=plain.mj / 2, scope="board_input")
        cells.append(
            replace(
                base,
                model=f"m{i}.onnx",
                sha256=f"sha {i}",
                latency_ms=latency,
                energy_mj=energy,
                valid=plain.valid,
                invalid_reason=None if plain.valid else "hot",
                emulated=plain.emulated,
            )
        )
        if plain.accuracy is not None:
            accuracies.append(
                Accuracy(model="elsewhere", sha256=f"sha {i}", images=9, mAP50=plain.accuracy, mAP50_95=plain.accuracy)
            )
    return replace(template(), cells=tuple(cells), ratios=()), accuracies


def brute(listed: list[Plain], limits: dict[Quantity, float], basis: Basis) -> tuple[set[int], set[int]]:
    """Who may be chosen, and who may be named as the next better one: by definition, one by one."""

    def keeps(plain: Plain) -> bool:
        for quantity, limit in limits.items():
            if quantity == "latency":
                if plain.ms > limit or (basis.certain and plain.ms + plain.spread > limit):
                    return False
            else:
                value = {"energy": plain.mj, "mAP": plain.accuracy, "size": 1.0}[quantity]
                if value is None or (value < limit if quantity == "mAP" else value > limit):
                    return False
                if basis.certain:  # no interval is known of it
                    return False
        return True

    def goal(plain: Plain) -> float | None:
        if basis.best == "mAP":
            return plain.accuracy
        return -plain.ms if basis.best == "latency" else None if plain.mj is None else -plain.mj

    known = [i for i, plain in enumerate(listed) if goal(plain) is not None]
    fitting = [i for i in known if keeps(listed[i]) and not listed[i].emulated and (listed[i].valid or basis.invalid)]
    real = [i for i in known if not listed[i].emulated]
    if not fitting:
        return set(), set(real)
    best = max(goal(listed[i]) or 0 for i in fitting)
    better = [i for i in real if (goal(listed[i]) or 0) > best]
    nearest = min((goal(listed[i]) or 0 for i in better), default=math.inf)
    return (
        {i for i in fitting if (goal(listed[i]) or 0) == best},
        {i for i in better if (goal(listed[i]) or 0) == nearest},
    )


@given(
    st.lists(PLAIN, min_size=1, max_size=8),
    LIMITS,
    st.builds(Basis, best=st.sampled_from(["mAP", "latency", "energy"]), certain=st.booleans(), invalid=st.booleans()),
)
def test_the_choice_is_that_of_brute_force(listed: list[Plain], limits: dict[Quantity, float], basis: Basis) -> None:
    result, accuracies = result_of(listed)
    candidates = find_candidates([result], accuracies, basis)
    assert len(candidates) == len(listed)
    choice = choose(candidates, limits, basis)
    number = {item.cell.model: i for i, item in enumerate(candidates)}
    best, after = brute(listed, limits, basis)
    if not best:
        assert choice.chosen is None
        assert (choice.next is None) is (not after)
    else:
        assert choice.chosen is not None
        chosen = number[choice.chosen.candidate.cell.model]
        assert chosen in best
        # of the equally good the fastest, of those the most frugal
        rank = [(listed[i].ms, listed[i].mj or math.inf) for i in best]
        assert (listed[chosen].ms, listed[chosen].mj or math.inf) == min(rank)
        assert choice.chosen.fits
        assert not choice.chosen.limiting
    if choice.next is None:
        assert not after
    else:
        assert number[choice.next.candidate.cell.model] in after
        assert not choice.next.fits  # something limits it, or it would be chosen
        assert choice.next.limiting or choice.next.distrusted or (not best and not limits)


@given(st.lists(PLAIN, min_size=1, max_size=6), LIMITS)
def test_margins_are_differences_and_hold_their_intervals(listed: list[Plain], limits: dict[Quantity, float]) -> None:
    result, accuracies = result_of(listed)
    for fit in choose(find_candidates([result], accuracies), limits).fits:
        for margin in fit.margins:
            if margin.figure is None:
                assert not margin.kept
                assert margin.excess == math.inf
                continue
            assert margin.margin is not None
            sign = 1 if QUANTITIES[margin.quantity][1] else -1
            assert margin.margin == pytest.approx(sign * (margin.figure.value - margin.limit))
            assert margin.kept is (margin.margin >= 0)
            assert margin.excess == pytest.approx(max(-margin.margin / margin.limit, 0))
            if margin.interval is not None:
                assert margin.interval[0] - 1e-9 <= margin.margin <= margin.interval[1] + 1e-9


def chosen(choice: Choice) -> Candidate:
    assert choice.chosen is not None
    return choice.chosen.candidate


def test_the_newest_valid_run_of_a_cell_counts() -> None:
    def run(created: str, ms: float, valid: bool) -> BenchmarkResult:
        result, _ = result_of([Plain(ms, 0, None, None, valid, False)])
        return replace(result, created=created)

    runs = [run("2026-01-02", 2, True), run("2026-01-03", 1, False), run("2026-01-01", 3, True)]
    (found,) = find_candidates(runs, [])
    assert found.cell.latency_ms.p50 == 2
    (found,) = find_candidates(runs[1:2], [])
    assert found.cell.latency_ms.p50 == 1
    other = replace(runs[1], host=replace(runs[1].host, name="another"))
    assert len(find_candidates([runs[0], other], [])) == 2


def test_which_figures_count() -> None:
    result, _ = result_of([Plain(2, 0.3, 10, None, True, False)])
    cell = result.cells[0]
    total = replace(cell.latency_ms, p50=7.0, p90=9.0)
    result = replace(result, cells=(replace(cell, total_ms=total),))

    def figure(quantity: Quantity, basis: Basis) -> float:
        return find_candidates([result], [], basis)[0].figures[quantity].value

    assert figure("latency", Basis(stage="total")) == 7
    assert figure("latency", Basis(stage="total", percentile="p90")) == 9
    assert find_candidates([result], [], Basis(percentile="p90"))[0].figures["latency"].interval is None
    assert (figure("energy", Basis()), figure("energy", Basis(energy="net"))) == (10, 5)


def accuracy(data: str | None, model: str = "a.onnx", images: int = 5) -> Accuracy:
    return Accuracy(model=model, images=images, mAP50=0.5, mAP50_95=0.3, settings=Measured(data=data))


def test_accuracies_on_different_data_are_not_mixed() -> None:
    every = [accuracy("coco"), accuracy("coco", "b.onnx"), accuracy("voc"), accuracy("coco", images=6)]
    kept, others = on_one_dataset(every)
    assert kept == every[:2]
    assert others == ["voc: 5 pictures", "coco: 6 pictures"]
    assert on_one_dataset(every, "voc") == ([every[2]], ["coco: 5 pictures", "coco: 6 pictures"])
    assert on_one_dataset([]) == ([], [])


def test_folders_and_files(tmp_path: Path) -> None:
    result, _ = result_of([Plain(2, 0, None, None, True, False)])
    (tmp_path / "r.json").write_bytes(to_json(result))
    (tmp_path / "a.json").write_bytes(msgspec.json.encode([accuracy("coco")]))
    (tmp_path / "b.json").write_text('{"plan": 1}')
    (tmp_path / "c.json").write_text("[1, 2]")
    (tmp_path / "d.txt").write_text("x")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "r.json").write_bytes(to_json(result))
    found = read_inputs([tmp_path, tmp_path / "r.json"])
    assert len(found.results) == 1
    assert found.accuracies == [accuracy("coco")]
    assert [path.name for path in found.ignored] == ["b.json", "c.json"]
    for name in ("b.json", "c.json", "a.json"):
        with pytest.raises(InputError, match=r"json|no result"):
            read_inputs([tmp_path / name])
    with pytest.raises(InputError, match="no such file"):
        read_inputs([tmp_path / "nothing"])
    (tmp_path / "e.json").write_text('{"schema": 1, "cells": [')
    with pytest.raises(InputError, match=r"e\.json: not a result"):  # cut: not to be passed over
        read_inputs([tmp_path])
