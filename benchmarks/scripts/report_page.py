"""How large a page of many results is, and how soon it answers, in a headless Chromium.

    python benchmarks/scripts/report_page.py RESULT.json --accuracy ACCURACY.json --results 500

Makes a page of so many results like one, a little slower or faster each, opens it, and prints its size, when its script
was done with tables and filters (from then on they answer), when the first chart answers to the mouse, when all do, and
how long a choice of a filter and pointing at a row then take; medians of several runs in new browsers.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from yolo_edge.benchmarks.accuracy import read_accuracy
from yolo_edge.benchmarks.report.content import gather
from yolo_edge.benchmarks.report.page import html
from yolo_edge.benchmarks.result_file import read_result
from yolo_edge.benchmarks.results import BenchmarkResult, without_samples

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout: its tests know a browser
from tests.browser import open_page  # type: ignore[import-not-found] # mypy looks at the package alone

# in the page from its begin on; Vega takes short names for itself
_WATCH = """<script>
const pageTimes = {};
const pageWatch = () => {
  const charts = [...document.querySelectorAll(".chart")];
  const drawn = charts.filter((chart) => chart.dataset.drawn).length;
  if (document.documentElement.dataset.ready) pageTimes.ready ??= performance.now();
  if (drawn > 0) pageTimes.first ??= performance.now();
  if (pageTimes.ready && drawn === charts.length) pageTimes.all ??= performance.now();
  else setTimeout(pageWatch, 5);
};
pageWatch();
</script>"""
_ASK = """(async () => {
  while (!pageTimes.all) await new Promise((done) => setTimeout(done, 50));
  const timed = async (act) => {
    const begun = performance.now();
    act();
    await Promise.all(views.map((view) => view.runAsync()));
    document.body.getBoundingClientRect(); // lays it out
    return performance.now() - begun;
  };
  const select = document.querySelector("#filters select");
  if (select) {
    select.value = select.options[1].value;
    pageTimes.filter = await timed(filter);
    select.value = "";
    await timed(filter);
  }
  pageTimes.pick = await timed(() => pick(0));
  return pageTimes;
})()"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--accuracy", type=Path, help="of validate --json")
    parser.add_argument("--results", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    template = without_samples(read_result(options.result))
    copies = [
        _another(
            template, f"2026-{1 + i // 28 % 12:02}-{1 + i % 28:02}T{i % 24:02}:00:00+00:00", 0.95 + 0.1 * (i % 97) / 97
        )
        for i in range(options.results)
    ]
    text = html(gather(copies, read_accuracy(options.accuracy) if options.accuracy else ()))
    cells = len(template.cells) * options.results
    print(f"{options.results} results, {cells} cells: {len(text.encode()) / 1e6:.2f} MB")
    found: list[dict[str, float]] = []
    complaints: list[str] = []
    requests: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(text.replace("<head>", f"<head>{_WATCH}", 1), encoding="utf-8")
        for number in range(options.runs):
            with open_page(path, Path(folder) / f"profile-{number}") as page:
                end = time.monotonic() + 60
                while not page.evaluate("typeof pageTimes === 'object'") and time.monotonic() < end:
                    time.sleep(0.05)
                found.append(page.evaluate(_ASK))
                complaints += page.complaints
                requests |= set(page.requests)
    print(f"complaints on the console: {len(complaints)}; requests: {len(requests)}, the page itself")
    for name, what in (
        ("ready", "tables and filters answer after"),
        ("first", "the first chart answers after"),
        ("all", "all charts answer after"),
        ("filter", "a choice of a filter takes"),
        ("pick", "pointing at a row takes"),
    ):
        taken = [times[name] for times in found if name in times]
        if taken:
            print(f"{what} {np.median(taken):.0f} ms [{min(taken):.0f}, {max(taken):.0f}]")


def _another(result: BenchmarkResult, created: str, factor: float) -> BenchmarkResult:
    """The same at another time, slower by a factor."""
    times = [replace(cell.latency_ms, p50=round(factor * cell.latency_ms.p50, 4)) for cell in result.cells]
    cells = tuple(replace(cell, latency_ms=ms) for cell, ms in zip(result.cells, times, strict=True))
    return replace(result, created=created, cells=cells)


if __name__ == "__main__":
    main()
