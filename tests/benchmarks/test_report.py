import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.benchmarks.machine import SETTINGS, Machine, measure
from tests.browser import open_page
from yolo_edge.benchmarks.accuracy import Accuracy, accuracy_of, read_accuracy
from yolo_edge.benchmarks.baseline import compare
from yolo_edge.benchmarks.power import CellPower, Energy, Meter, Power, RailColumn
from yolo_edge.benchmarks.report.content import Content, gather
from yolo_edge.benchmarks.report.page import html, markdown
from yolo_edge.benchmarks.report.table import columns, fields, ratio_fields
from yolo_edge.benchmarks.results import BenchmarkResult, without_samples
from yolo_edge.benchmarks.table import to_csv
from yolo_edge.ondevice.errors import InputError

HOSTILE = "</script><img src=x onerror=alert(1)>|`*[a](b)\"'&amp;${1}{{2}}.onnx"
EVERYTHING = ["accuracy", "latency", "distribution", "ratios", "threads", "size", "steadiness", "operators"]


def accuracy(model: str, value: float) -> Accuracy:
    return Accuracy(model=model, images=128, mAP50=min(1.5 * value, 1), mAP50_95=value)


@pytest.fixture(scope="module")
def result() -> BenchmarkResult:
    machine = Machine({"out/a.onnx": 4, "out/b.onnx": 8, HOSTILE: 6})
    return measure(machine, replace(SETTINGS, threads=(1, 2), profile=3))


@pytest.fixture(scope="module")
def content(result: BenchmarkResult) -> Content:
    known = [accuracy("a.onnx", 0.3), accuracy("out/b.onnx", 0.4), accuracy(HOSTILE, 0.2)]
    return gather([result], known, compare([result], [result]), 0.05)


@pytest.fixture(scope="module")
def page(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(content), encoding="utf-8")
    return path


class Reader(HTMLParser):
    """Collects what elements there are and where they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.rows = 0
        self.figures: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.targets += [values[name] or "" for name in ("src", "href") if name in values]
        self.rows += tag == "tr"
        if tag == "figure":
            self.figures.append(values["id"] or "")


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.targets == ["data:,"]
    assert reader.figures == EVERYTHING
    assert "img" not in reader.tags
    assert len(text) < 3_000_000


def test_names_are_only_names(page: Path) -> None:
    visible = re.sub(r"(?s)<script.*?</script>", "", page.read_text(encoding="utf-8"))
    assert "<img" not in visible
    assert "script&gt;&lt;img src=x" in visible


@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser(page: Path, content: Content, tmp_path: Path, dark: bool) -> None:
    with open_page(page, tmp_path, dark) as opened:
        drawn = "document.querySelectorAll('.chart[data-drawn] svg').length"
        opened.until(f"{drawn} === {len(EVERYTHING)}", 60)
        assert opened.evaluate("[...document.querySelectorAll('.chart svg')].every((s) => s.querySelector('path'))")
        light = opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert light is not dark
        # text of charts follows the page: light on dark, dark on light
        fill = opened.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
        assert (sum(map(int, re.findall(r"\d+", fill)[:3])) > 380) is dark
        first = "document.querySelectorAll('table.sortable')[1].tBodies[0].rows[0].cells[0].textContent"
        head = "[...document.querySelectorAll('table.sortable')[1].tHead.rows[0].cells]"
        for expected in (4, 8):  # rising, then falling
            opened.evaluate(f"{head}.find((c) => c.textContent.startsWith('p50')).querySelector('button').click()")
            names = {row.label for row in content.rows if row.cell.latency_ms.p50 == pytest.approx(expected, rel=0.1)}
            assert opened.evaluate(first) in names
        opened.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 50_000
        assert opened.call("Page.printToPDF", landscape=True)["data"]
        opened.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False)
        widths = "[...document.querySelectorAll('.chart svg')].map((s) => s.getBoundingClientRect().width)"
        assert min(opened.evaluate(widths)) >= 760  # readable, and scrolled in its own frame, not with the page
        assert opened.evaluate("document.documentElement.scrollWidth") <= 400
        assert opened.requests == [page.as_uri()]
        assert opened.complaints == []


def test_on_a_phone(page: Path, tmp_path: Path) -> None:
    """Charts fit into it, with letters as large as elsewhere, but those whose texts were laid out for their width."""
    drawn = f"document.querySelectorAll('.chart[data-drawn] svg').length === {len(EVERYTHING)}"
    with open_page("about:blank", tmp_path) as opened:
        opened.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False)
        opened.call("Page.navigate", url=page.as_uri())
        opened.until(drawn, 60)
        beyond = "[...document.querySelectorAll('.chart')].filter((c) => c.scrollWidth > c.clientWidth)"
        assert opened.evaluate(f"{beyond}.map((c) => c.closest('figure').id)") == ["accuracy"]
        letters = (
            "[...document.querySelectorAll('.chart svg text')].map((t) => parseFloat(getComputedStyle(t).fontSize))"
        )
        assert min(opened.evaluate(letters)) >= 10
        assert opened.complaints == []


def test_markdown(content: Content) -> None:
    text, pictures = markdown(content, "my report")
    assert sorted(pictures) == sorted(f"my report-{key}.svg" for key in EVERYTHING)
    assert all(picture.startswith("<svg") for picture in pictures.values())
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert [name.replace("%20", " ") for name in shown] == [f"my report-{key}.svg" for key in EVERYTHING]
    table: list[int] = []
    for line in text.splitlines():
        if line.startswith("|"):
            table.append(len(re.findall(r"(?<!\\)\|", line)))
        elif table:
            assert len(set(table)) == 1, line
            table = []
    assert "<img" not in text.replace("\\<img", "")
    assert "not measured: " in text


def test_the_verdict_says_what_is_wrong(result: BenchmarkResult) -> None:
    assert gather([result]).verdict == "6 cells, all valid; all quick: a first look."
    cells = (replace(result.cells[0], valid=False, invalid_reason="it was hot"), *result.cells[1:])
    spoilt = replace(result, cells=cells)
    assert gather([spoilt]).verdict.startswith("1 of 6 cells not valid")
    assert "it was hot" in html(gather([spoilt]))
    assert "it was hot" in markdown(gather([spoilt]), "r")[0]


def test_results_without_samples_have_fewer_charts(result: BenchmarkResult) -> None:
    _, pictures = markdown(gather([without_samples(result)]), "r")
    assert {"r-latency.svg", "r-ratios.svg", "r-size.svg"} <= set(pictures)
    assert "r-distribution.svg" not in pictures


def test_the_power_column_says_why_it_is_empty(result: BenchmarkResult) -> None:
    table = re.search(r'(?s)<table class="sortable" id="cells">.*?</table>', html(gather([result])))
    assert table is not None
    assert table[0].count("not measured: ") == 6


def test_emulated_runs_have_no_figures(result: BenchmarkResult) -> None:
    emulated = replace(result, cells=tuple(replace(cell, emulated=True) for cell in result.cells))
    text, pictures = markdown(gather([emulated]), "r")
    assert "6 emulated, whose times and energy mean nothing and are withheld" in text
    assert not pictures
    assert not re.search(r"\d\.\d{3} to \d", text)
    row = to_csv([emulated]).decode().splitlines()[1]
    assert ",,,,," in row
    for cell in emulated.cells:
        assert str(cell.latency_ms.p50) not in row


def with_power(result: BenchmarkResult, scope: str, *, estimated: bool = False, gross: float = 12.5) -> BenchmarkResult:
    meter = Meter(
        kind="rapl",
        scope=scope,
        estimated=estimated,
        what="package-0",
        total=("package-0",),
        columns=(RailColumn(rail="package-0", unit="uJ"),),
        interval_s=0.05,
    )
    idle = ((2.0, 2.25), (2.0, None))
    power = Power(meter=meter, others=("tegrastats",), rate_hz=20, overhead=0.012, failures=3, idle_w=idle)
    energy = Energy(gross=gross, net=8.25, scope=scope)
    how = CellPower(
        gross_w=5,
        idle_w=2,
        gross_mj=(12.0, 13.0),
        net_mj=(8.0, 8.5),
        windows=9,
        seconds=9.5,
        readings=190,
        largest_gap_s=0.07,
    )
    cells = tuple(replace(cell, energy_mj=energy, energy_reason=None, power=how) for cell in result.cells)
    return replace(result, cells=cells, power=power)


def test_scopes_never_share_a_column(result: BenchmarkResult) -> None:
    """Nor do estimates and measured figures."""
    runs = [
        with_power(result, "soc_rails", gross=1.125),
        with_power(result, "wall", gross=2.125),
        with_power(result, "wall", estimated=True, gross=3.125),
        result,
    ]
    content = gather(runs)
    headings = [column.heading for column in columns(content)]
    scopes = ("soc_rails", "wall", "wall, estimated")
    places = [headings.index(f"gross, mJ ({scope})") for scope in scopes]
    for row in content.rows:
        texts = fields(content, row)
        assert len(texts) == len(headings)
        own = [texts[place] for place in places]
        expected = ["-", "-", "-"]
        if row.run <= 3:
            expected[row.run - 1] = ("1.125", "2.125", "3.125")[row.run - 1]
            assert texts[places[row.run - 1] + 1] == "8.250"
        assert own == expected
        assert texts[-1].startswith("not measured: ") is (row.run == 4)
    table = list(csv.DictReader(to_csv(runs).decode().splitlines()))
    for i, scope in enumerate(scopes):
        assert {row[f"energy_gross_mj {scope}"] for row in table} == {"", ("1.125", "2.125", "3.125")[i]}
    assert "no energy because" not in html(gather(runs[:3]))


def test_the_meter_is_described(result: BenchmarkResult) -> None:
    for text in (html(gather([with_power(result, "wall")])), markdown(gather([with_power(result, "wall")]), "r")[0]):
        assert "rapl: package-0; also there: tegrastats" in text
        assert "20.0, 3 failed" in text
        assert "1.2% of a CPU" in text
        assert "2.000 W before a repeat, 2.250 W after (+0.250 W)" in text
        assert "12.000 to 13.000 mJ, from 190 readings in 9 turns" in text


def test_several_runs_are_told_apart(result: BenchmarkResult) -> None:
    content = gather([result, result])
    assert len({(row.name) for row in content.rows}) == 12
    assert content.rows[0].label == "out/a.onnx (run 1)" or content.rows[0].label == "a.onnx (run 1)"


def test_two_hundred_results_in_one_page(result: BenchmarkResult) -> None:
    content = gather([replace(result, created=f"2026-01-01T00:{i // 60:02}:{i % 60:02}+00:00") for i in range(200)])
    text = html(content)
    assert len(text) < 3_000_000
    reader = Reader()
    reader.feed(text)
    assert reader.rows > 1200


@given(st.lists(st.tuples(st.sampled_from([2.0, 3.0, 4.0, 5.0]), st.sampled_from([0.1, 0.2, 0.3])), max_size=6))
def test_the_pareto_front_is_what_nobody_beats(points: list[tuple[float, float]]) -> None:
    template = _template()
    names = [f"m{i}.onnx" for i in range(len(points))]
    cells = tuple(
        replace(template.cells[0], model=name, latency_ms=replace(template.cells[0].latency_ms, p50=ms))
        for name, (ms, _) in zip(names, points, strict=True)
    )
    known = [accuracy(name, value) for name, (_, value) in zip(names, points, strict=True)]
    rows = gather([replace(template, cells=cells, ratios=())], known).rows
    for row, (ms, value) in zip(rows, points, strict=True):
        beaten = any(t <= ms and q >= value and (t < ms or q > value) for t, q in points)
        assert row.pareto is not beaten


def _template(kept: list[BenchmarkResult] = []) -> BenchmarkResult:  # noqa: B006 - made once
    if not kept:
        kept.append(measure(Machine({"a.onnx": 4}), replace(SETTINGS, repeats=1, seconds=0.2)))
    return kept[0]


def test_accuracy_is_found_by_path_or_by_the_only_name() -> None:
    known = [accuracy("x/a.onnx", 0.1), accuracy("y/a.onnx", 0.2), accuracy("b.onnx", 0.3)]
    assert accuracy_of("y/a.onnx", known) == known[1]
    assert accuracy_of("z/a.onnx", known) is None  # which of the two?
    assert accuracy_of("out/b.onnx", known) == known[2]
    assert accuracy_of("c.onnx", known) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "[" * 9999, '[{"model":"a"}]', '[{"model":"a","images":1,"mAP50":36,"mAP50_95":0.1}]']
)
def test_documents_that_are_no_accuracy(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json: "):
        read_accuracy(tmp_path / "a.json")


def with_point(result: BenchmarkResult, ms: float, **host: str) -> BenchmarkResult:
    cell = replace(result.cells[0], latency_ms=replace(result.cells[0].latency_ms, p50=ms))
    return replace(result, cells=(cell,), ratios=(), host=replace(result.host, **host))


def test_machines_do_not_beat_each_other() -> None:
    pi, jetson = with_point(_template(), 9), with_point(_template(), 1, model="Jetson", name="jetson")
    known = [accuracy("a.onnx", 0.3)]
    assert [row.pareto for row in gather([pi, jetson], known).rows] == [True, True]
    assert [row.pareto for row in gather([pi, with_point(_template(), 1)], known).rows] == [False, True]


def test_times_of_emulators_are_withheld(result: BenchmarkResult) -> None:
    reason = "emulated: an emulator's times mean nothing"
    emulated = replace(result.cells[0], emulated=True, valid=False, invalid_reason=reason)
    content = gather([replace(result, cells=(emulated, *result.cells[1:]))], [accuracy("a.onnx", 0.3)])
    assert not content.rows[0].pareto
    assert content.ratios
    assert all(content.rows[0].name not in (item.a, item.b) for item in content.ratios)
    text, pictures = markdown(content, "r")
    (row,) = (line for line in text.splitlines() if line.startswith("| a.onnx | 1 |"))
    assert "no, emulated" in row
    assert "withheld" in row
    assert f"{emulated.latency_ms.p50:.3f}" not in text
    assert all(content.rows[0].name not in picture for picture in pictures.values())
    alone = gather([replace(result, cells=(emulated,), ratios=())])
    assert "## Charts" not in markdown(alone, "r")[0]
    assert "<h2>Charts" not in html(alone)


def test_what_cannot_be_trusted_is_not_on_the_front_and_is_marked(result: BenchmarkResult) -> None:
    spoilt = replace(result, cells=(replace(result.cells[0], valid=False, invalid_reason="hot"), *result.cells[1:]))
    content = gather([spoilt], [accuracy("a.onnx", 0.3), accuracy("b.onnx", 0.2)])
    assert not content.rows[0].pareto
    marked = [item for item in content.ratios if not item.trusted]
    assert 0 < len(marked) < len(content.ratios)
    for item in content.ratios:
        assert (content.rows[0].name in (item.a, item.b)) is not item.trusted
        assert ("not valid" in ratio_fields(item)[-1]) is not item.trusted


def test_ratios_show_their_rounds(result: BenchmarkResult) -> None:
    fallen = replace(result, ratios=(replace(result.ratios[0], rounds=7, of_rounds=7, undisturbed=False),))
    text, _ = markdown(gather([fallen]), "r")
    assert "| 7 of 7 |" in text
    assert "disturbed rounds too" in text
    assert "disturbed rounds too" not in markdown(gather([result]), "r")[0]


def test_names_of_pictures_are_quoted(content: Content) -> None:
    text, pictures = markdown(content, "a (b)#c%d é")
    shown = re.findall(r"!\[.*?\]\((\S+)\)\n", text)
    assert [unquote(name) for name in shown] == list(pictures)
    assert all(re.fullmatch(r"[\w.%-]+", name, re.ASCII) for name in shown)
