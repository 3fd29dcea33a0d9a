"""What the charts of a report show, and that the page with them works in a browser."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.benchmarks import rich
from tests.benchmarks.test_report import with_power
from tests.browser import Page, open_page
from yolo_edge.benchmarks.report.charts import figures, not_measured
from yolo_edge.benchmarks.report.content import STATES, Content, Row, gather
from yolo_edge.benchmarks.report.packing import SharedData
from yolo_edge.benchmarks.report.page import html
from yolo_edge.benchmarks.results import Energy
from yolo_edge.benchmarks.verdicts import in_words
from yolo_edge.charts import Figure, to_svg
from yolo_edge.ondevice.spec import PRECISIONS

Records = list[dict[str, Any]]
BYTES = 4_000_000
DRAWN = (
    "document.documentElement?.dataset.ready && [...document.querySelectorAll('.chart')].every((c) => c.dataset.drawn)"
)


@pytest.fixture(scope="module")
def content() -> Content:
    results = [
        rich.run("pi5", "onnx", sizes=(224, 320), profile=True),
        rich.slowed(rich.run("pi5", "tflite", sizes=(224, 320), quick=True, day=2)),
        rich.run("jetson", "onnx", factor=0.55, sizes=(320,), busy=True, day=3),
        rich.run("local", "tflite", factor=0.4, sizes=(320,), emulated=True, day=4),
    ]
    return gather(results, rich.accuracies())


@pytest.fixture(scope="module")
def drawn(content: Content) -> dict[str, Figure]:
    return {figure.key: figure for figure in figures(content, "currentColor")}


def datasets(figure: Figure) -> list[Records]:
    """All data in a chart."""

    def walk(value: Any) -> Iterator[Records]:
        if isinstance(value, list):
            for item in value:
                yield from walk(item)
        elif isinstance(value, dict):
            if set(value) == {"values"} and value["values"] and isinstance(value["values"][0], dict):
                yield value["values"]
            else:
                for item in value.values():
                    yield from walk(item)

    return list(walk(figure.chart.to_dict()))


def rows_in(figure: Figure) -> set[int]:
    return {record["id"] for records in datasets(figure) for record in records if "id" in record}


def test_scopes_of_power_are_never_mixed(content: Content, drawn: dict[str, Figure]) -> None:
    scope_of = {row.id: row.scope for row in content.rows if row.scope is not None}
    energies = {key: figure for key, figure in drawn.items() if key.startswith("energ")}
    assert sorted(energies) == [
        "energies-module_input",
        "energies-soc_rails",
        "energy-module_input",
        "energy-soc_rails",
    ]
    for key, figure in energies.items():
        assert {scope_of[number] for number in rows_in(figure)} == {key.split("-", 1)[1]}
        assert key.split("-", 1)[1] in figure.title


def test_estimated_energies_are_apart_and_say_so() -> None:
    """The same meter's scope, measured on one machine and estimated on the other: charts of their own."""
    measured = rich.run("jetson", "onnx", sizes=(224, 320))
    estimated = with_power(rich.run("pi5", "onnx", sizes=(224, 320), day=2), "module_input", estimated=True)
    content = gather([measured, estimated], rich.accuracies())
    assert {row.scope for row in content.rows} == {"module_input", "module_input, estimated"}
    run_of = {row.id: row.run for row in content.rows}
    said = "Estimated by the hardware from a model, not measured."
    found = {figure.key: figure for figure in figures(content, "#000")}
    for kind in ("energy", "energies"):
        for key, run in ((f"{kind}-module_input", 1), (f"{kind}-module_input-estimated", 2)):
            assert {run_of[number] for number in rows_in(found[key])} == {run}
            assert (said in found[key].conditions) is (run == 2)
            assert ("estimated" in found[key].title) is (run == 2)
            assert (
                "estimated" in json.dumps(found[key].chart.to_dict()["encoding" if kind == "energies" else "layer"])
            ) is (run == 2)
    # nothing estimated beats what was measured, nor the other way round
    fronts = {row.scope for row in content.rows if row.frugal}
    assert fronts == {"module_input", "module_input, estimated"}
    # times are measured all the same
    assert said not in found["latency"].conditions


def test_names_beside_bars_are_whole() -> None:
    """What is at their end says how a cell was measured."""
    result = rich.run("jetson", "onnx", sizes=(224,), busy=True, quick=True)
    long = "a-detector-of-" + "very-" * 12 + "long-name"
    cells = tuple(replace(cell, model=f"{long}-{cell.model.rsplit('/', 1)[1]}") for cell in result.cells)
    ratios = tuple(
        replace(ratio, a=f"{long}-{ratio.a.rsplit('/', 1)[1]}", b=f"{long}-{ratio.b.rsplit('/', 1)[1]}")
        for ratio in result.ratios
    )
    content = gather([replace(result, cells=cells, ratios=ratios)], rich.accuracies())
    found = {figure.key: figure for figure in figures(content, "#000")}
    for key in ("latency", "energies-module_input"):
        drawn_text = to_svg(found[key].chart)
        assert drawn_text.count(f"{long}-yolo-fastest-1.1-224-int8.onnx ×1 (busy, quick)</text>") == 1
    pairs = to_svg(found["ratios"].chart)
    assert "…" not in pairs
    assert "int8 ×1 / fp32 ×1 (busy, quick)</text>" in pairs  # what differs, and nothing else


def test_every_chart_says_how_its_cells_were_measured(content: Content, drawn: dict[str, Figure]) -> None:
    by_id = {row.id: row for row in content.rows}
    signs = {"quick": "quick", "busy": "other programs ran", "throttled": "throttled"}
    for figure in drawn.values():
        # times of an emulator mean nothing: they are left out, which every chart says
        assert not any(by_id[number].cell.emulated for number in rows_in(figure))
        assert "4 emulated cells left out" in figure.conditions
        shown = [by_id[number] for number in rows_in(figure)]
        marks = {mark for row in shown for mark in row.marks}
        for mark, sign in signs.items():
            assert (sign in figure.conditions) >= (mark in marks), (figure.key, mark)
    # and each mark of a point, or name of a bar or line, has it, too
    for key in ("accuracy", "dial", "energy-soc_rails", "roofline", "threads"):
        for records in datasets(drawn[key]):
            for record in records:
                if "id" in record:
                    assert record["state"] == by_id[record["id"]].state
        assert '"state"' in json.dumps(drawn[key].chart.to_dict()["layer"])
    named = ("latency", "energies-module_input", "energies-soc_rails", "distribution", "steadiness", "operators")
    seen: set[str] = set()
    for key in named:
        for records in datasets(drawn[key]):
            for record in records:
                if "id" in record:  # temperatures are of no cell
                    assert all(mark in record["cell"] for mark in by_id[record["id"]].marks)
                    seen |= set(by_id[record["id"]].marks)
    assert seen == {"quick", "busy", "throttled"}
    for pair, record in zip(content.ratios, datasets(drawn["ratios"])[1], strict=False):
        assert all(mark in record["pair"] for mark in pair.marks)


def test_operators_say_whose_profiler_it_was(content: Content) -> None:
    rows = [row for row in content.rows if row.cell.profile is not None]
    native = replace(rows[0].cell, runtime="benchmark_model")
    for cells, said in (
        ([row.cell for row in rows], "From onnxruntime's own profiler, which"),
        ([native], "From benchmark_model's own profiler, which"),
        ([rows[0].cell, native], "From onnxruntime's own profiler and benchmark_model's own profiler, which"),
    ):
        some = [dataclasses.replace(rows[0], cell=cell) for cell in cells]
        found = {figure.key: figure for figure in figures(dataclasses.replace(content, rows=some), "black")}
        assert found["operators"].caption.startswith(said)


def test_states_and_words(content: Content) -> None:
    assert {row.state for row in content.rows} == set(STATES)
    assert in_words("the machine was busy: other programs used 52% of its CPU time") == ["busy"]
    assert in_words("the hypervisor gave 5% of the CPU time to others; the CPU clock fell from 2 to 1 MHz") == [
        "busy",
        "throttled",
    ]
    assert in_words("something new") == in_words(None) == ["not valid"]


def test_the_dial_is_one_set_of_weights(content: Content, drawn: dict[str, Figure]) -> None:
    by_id = {row.id: row for row in content.rows}
    curves: dict[str, Records] = {}
    for record in datasets(drawn["dial"])[0]:
        curves.setdefault(record["series"], []).append(record)
    assert len(curves) == 6  # of the eight that have two sizes
    for records in curves.values():
        rows = [by_id[record["id"]] for record in records]
        assert (
            len({(row.cell.source, row.cell.precision, row.cell.runtime, row.cell.threads, row.pool) for row in rows})
            == 1
        )
        assert [record["size"] for record in records] == ["224", "320"]
        assert [record["y"] for record in records] == [row.accuracy.mAP50_95 for row in rows if row.accuracy]
    without = gather(content.results)
    assert "Accuracies are not known" in next(f for f in figures(without, "#000") if f.key == "dial").caption


def test_the_roofline_is_what_was_measured(content: Content, drawn: dict[str, Figure]) -> None:
    by_id = {row.id: row for row in content.rows}
    found = datasets(drawn["roofline"])
    points = next(records for records in found if "GOP/s" in records[0])
    for point in points:
        cell = by_id[point["id"]].cell
        assert cell.macs is not None
        assert cell.traffic_bytes is not None
        assert point["GOP/s"] == pytest.approx(2 * cell.macs / cell.latency_ms.p50 / 1e6, rel=1e-4)
        assert point["operations a byte"] == pytest.approx(2 * cell.macs / cell.traffic_bytes, rel=1e-4)
        assert cell.threads == 1
    roofs = {record["roof"] for records in found for record in records if "roof" in record}
    assert roofs == {"fp32 100 GFLOP/s (numpy)", "int8 300 GOP/s (onnxruntime)", "memory copy 10 GB/s"}
    host = content.results[0].host
    blind = replace(host, roof={key: replace(roof, int8_gops=None, int8_by=None) for key, roof in host.roof.items()})
    figure = next(f for f in figures(gather([replace(content.results[0], host=blind)]), "#000") if f.key == "roofline")
    assert not any("int8" in str(record.get("roof")) for records in datasets(figure) for record in records)
    assert "The int8 roof was not measured" in figure.caption


def test_what_was_not_measured_is_said(content: Content) -> None:
    assert not_measured(content) == []
    result = content.results[0]
    cells = tuple(
        replace(cell, energy_mj=None, energy_reason="no meter", profile=None, samples=None) for cell in result.cells
    )
    bare = replace(result, cells=cells, host=replace(result.host, roof={}))
    assert [name for name, _ in not_measured(gather([bare]))] == ["Accuracy", "Energy", "Roofline", "Time by operator"]
    assert ("Energy", "no meter") in not_measured(gather([bare]))


@given(
    st.lists(
        st.tuples(st.sampled_from([2.0, 3.0, 4.0]), st.sampled_from([0.1, 0.2]), st.sampled_from("ab")), max_size=6
    )
)
def test_the_front_of_energy_is_within_a_scope(content: Content, points: list[tuple[float, float, str]]) -> None:
    base = content.results[0]
    cells = tuple(
        replace(
            base.cells[0],
            model=f"{i}",
            sha256=f"sha of {'224' if value == 0.1 else '608'} fp32",
            energy_mj=Energy(gross=mj, net=mj, scope=scope),
        )
        for i, (mj, value, scope) in enumerate(points)
    )
    rows = gather([replace(base, cells=cells, ratios=())], rich.accuracies()).rows
    for row, (mj, value, scope) in zip(rows, points, strict=True):
        rivals = [(m, v) for m, v, s in points if s == scope]
        beaten = any(m <= mj and v >= value and (m, v) != (mj, value) for m, v in rivals)
        assert row.frugal is not beaten


def test_rows_have_tags_that_differ(content: Content) -> None:
    first = [row for row in content.rows if row.run == 1]
    assert len({row.tag for row in first}) == len(first)
    assert first[0].tag == "224 fp32 onnxruntime ×1"
    assert [row.size for row in first[:2]] == ["224", "224"]
    assert {row.family for row in content.rows} == {"yolo-fastest-1.1"}


def test_every_precision_has_a_colour_of_its_own(content: Content) -> None:
    """And an exported file the name of its source, whatever was appended to it."""
    base = content.results[0]
    kinds = (*PRECISIONS, "int4 of tomorrow")
    cells = tuple(
        replace(base.cells[0], model=f"out/my-net-2-320x192-{kind}-nms-uint8.onnx", precision=kind, sha256=cell.sha256)
        for kind, cell in zip(kinds, [*base.cells[::2], *base.cells[::2]], strict=False)
    )
    found = gather([replace(base, cells=cells, ratios=())], rich.accuracies())
    assert [row.family for row in found.rows[:-1]] == ["my-net-2"] * len(PRECISIONS)
    scales = {figure.key: list(scales_of(figure.chart.to_dict(), "precision")) for figure in figures(found, "#000")}
    assert {key for key, those in scales.items() if those} >= {"accuracy", "roofline", "size"}
    for scale in (scale for those in scales.values() for scale in those):
        assert scale["domain"] == list(kinds)
        assert len(set(scale["range"])) == len(kinds)


def scales_of(value: Any, field: str) -> Iterator[dict[str, Any]]:
    """The colours of a field, wherever in a chart they are."""
    if isinstance(value, list):
        for item in value:
            yield from scales_of(item, field)
    elif isinstance(value, dict):
        colour = value.get("color")
        if isinstance(colour, dict) and colour.get("field") == field:
            yield colour["scale"]
        for item in value.values():
            yield from scales_of(item, field)


def test_five_hundred_results_in_a_browser(tmp_path: Path) -> None:
    content = gather(rich.many(500), rich.accuracies())
    path = tmp_path / "report.html"
    path.write_text(html(content), encoding="utf-8")
    assert path.stat().st_size < BYTES
    with open_page(path, tmp_path / "profile") as page:
        page.until(DRAWN, 60)
        visible = "[...document.querySelectorAll('#cells tbody tr')].filter((row) => !row.hidden).length"
        points = "document.querySelectorAll('#accuracy g.mark-symbol.role-mark path').length"
        assert page.evaluate(visible) == len(content.rows) == 2000
        before = page.evaluate(points)
        assert before >= 2000
        _choose(page, "precision", "int8")
        assert page.evaluate(visible) == 1000
        page.until(f"{points} < {before - 900}", 20)
        assert page.evaluate("document.querySelector('#filters output').textContent") == "1000 of 2000 cells"
        page.evaluate("document.getElementById('filters').reset()")
        page.until(f"{visible} === 2000", 20)
        page.until(f"{points} === {before}", 20)
        assert page.requests == [path.as_uri()]
        assert page.complaints == []


def test_a_long_table_is_laid_out_as_it_is_scrolled(tmp_path: Path) -> None:
    content = gather(rich.many(90))
    path = tmp_path / "report.html"
    path.write_text(html(content), encoding="utf-8")
    rows = len(content.rows)
    assert rows == 360
    laid = "[...document.querySelectorAll('#cells tbody tr')].filter((row) => row.offsetHeight > 0).length"
    box = "document.querySelector('#cells').closest('.tall')"
    with open_page(path, tmp_path / "profile") as page:
        page.until(DRAWN, 60)
        assert page.evaluate("document.querySelectorAll('#cells tbody tr').length") == rows
        first = page.evaluate(laid)
        assert 100 <= first < rows
        page.until(f"({box}.scrollTop = {box}.scrollHeight, {laid} === {rows})", 60)
        # sorted or filtered it begins again, with what is first now
        page.evaluate("document.querySelector('#cells th:nth-child(7) button').click()")
        assert 100 <= page.evaluate(laid) < rows
        times = page.evaluate(
            "[...document.querySelectorAll('#cells tbody tr')].map((row) => Number(row.cells[6].textContent))"
        )
        assert times == sorted(times)
        _choose(page, "precision", "int8")
        page.until(f"({box}.scrollTop = {box}.scrollHeight, {laid} === {rows // 2})", 60)
        _choose(page, "precision", "")
        # a mark leads to its row, however far down that is
        far = page.evaluate("Number([...document.querySelectorAll('#cells tbody tr')].at(-1).dataset.id)")
        assert page.evaluate(f"rows[{far}].offsetHeight") == 0
        page.evaluate(f"tables.get(rows[{far}].closest('table')).reveal(rows[{far}])")
        assert page.evaluate(f"rows[{far}].offsetHeight") > 0
        # paper has all of it, and so has a browser without scripts
        page.call("Emulation.setEmulatedMedia", media="print")
        assert page.evaluate(laid) == rows
        page.call("Emulation.setEmulatedMedia", media="")
        assert page.evaluate(laid) >= 100
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.reload")
        page.until(f"document.readyState === 'complete' && {laid} === {rows}", 60)
        assert page.complaints == []


def _choose(page: Page, name: str, value: str) -> None:
    select = f"document.querySelector('select[name={name}]')"
    page.evaluate(f"{select}.value = '{value}'; {select}.dispatchEvent(new Event('change'))")


def test_charts_and_the_table_are_linked(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html(content), encoding="utf-8")
    with open_page(path, tmp_path / "profile") as page:
        page.until(DRAWN, 60)
        # what the page unpacks is what was packed
        shared = SharedData(content)
        for figure in figures(content, "currentColor"):
            names = shared.without_data(figure.chart.to_dict())["usermeta"]["data"]
            records = datasets(figure)
            unpacked = [json.loads(page.evaluate(f"JSON.stringify(unpacked('{name}'))")) for name in names]
            unique = [given for i, given in enumerate(records) if given not in records[:i]]
            assert [[_known(r) for r in found] for found in unpacked] == [
                [_known(r) for r in given] for given in unique
            ]
        page.evaluate("document.getElementById('accuracy').scrollIntoView({block: 'center'})")
        last = "[...document.querySelectorAll('#accuracy g.mark-symbol.role-mark')].at(-1).querySelector('path')"
        spot = page.evaluate(
            f"JSON.stringify((box => [box.x + box.width / 2, box.y + box.height / 2])({last}.getBoundingClientRect()))"
        )
        x, y = json.loads(spot)
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        page.until("document.querySelectorAll('tr.picked').length === 1", 20)
        number = page.evaluate("Number(document.querySelector('tr.picked').dataset.id)")
        row: Row = content.rows[number]
        assert row.label in page.evaluate("document.querySelector('tr.picked').textContent")
        assert page.evaluate("views.every((view) => view.signal('picked') === picked)")
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
        page.until("document.querySelectorAll('tr.picked').length === 0", 20)
        page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.call("Emulation.setEmulatedMedia", media="print")
        assert page.evaluate("getComputedStyle(document.getElementById('filters')).display") == "none"
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
        assert page.complaints == []


def _known(record: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and without the facts of its row that a record need not repeat."""
    facts = ("cell", "state", "marks")
    return {key: value for key, value in record.items() if value is not None and not ("id" in record and key in facts)}
