"""How large a page of many results is, and how soon it answers, in a headless Chromium.

    python benchmarks/scripts/report_page.py RESULT.json --results 500

Makes a page of so many copies of a result, opens it, and prints its size, when its script was done with tables and
filters (from then on they answer), when the first chart answers to the mouse, and when all do; medians of several runs.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from yolo_edge.benchmarks.report.content import gather
from yolo_edge.benchmarks.report.page import html
from yolo_edge.benchmarks.results import read_result, without_samples

# written into the page's title, which --dump-dom shows
_WATCH = """<script>
const drawn = () => [...document.querySelectorAll(".chart")].filter((chart) => chart.dataset.drawn).length;
const times = {};
const watch = () => {
  if (document.documentElement.dataset.ready) times.ready ??= performance.now();
  if (drawn() > 0) times.first ??= performance.now();
  if (drawn() === document.querySelectorAll(".chart").length) times.all ??= performance.now();
  if (times.all) document.title = JSON.stringify(times); else setTimeout(watch, 5);
};
watch();
</script></body>"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--results", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--chromium", default="chromium")
    options = parser.parse_args()
    template = without_samples(read_result(options.result))
    copies = [
        replace(template, created=f"2026-{1 + i // 28 % 12:02}-{1 + i % 28:02}T{i % 24:02}:00:00+00:00")
        for i in range(options.results)
    ]
    text = html(gather(copies))
    cells = len(template.cells) * options.results
    print(f"{options.results} results, {cells} cells: {len(text.encode()) / 1e6:.2f} MB")
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(text.replace("</body>", _WATCH), encoding="utf-8")
        for number in range(options.runs):
            command = [options.chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
            command += [f"--user-data-dir={folder}/{number}", "--timeout=60000", page.as_uri()]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            title = done.stdout.split("<title>", 1)[1].split("</title>", 1)[0]
            found.append(json.loads(title))
    for name, what in (("ready", "tables and filters answer"), ("first", "first chart answers"), ("all", "all charts")):
        print(f"{what}: {np.median([times[name] for times in found]):.0f} ms")


if __name__ == "__main__":
    main()
