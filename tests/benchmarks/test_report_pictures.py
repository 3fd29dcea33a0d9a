"""Charts as pictures, laid out without a browser: in one, their words have the room that was kept for them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks import rich
from tests.browser import open_page
from yolo_edge.benchmarks.report.charts import figures
from yolo_edge.benchmarks.report.content import gather
from yolo_edge.charts import to_svg

# of the widths that pictures are laid out for
FONTS = ("Arial", "Arimo", "Liberation Sans")
# words that are cut, or lie on the words before them
CUT = """[...document.querySelectorAll('svg')].flatMap((svg) => {
  const room = svg.getBoundingClientRect()
  const words = [...svg.querySelectorAll('text')].filter((word) => word.textContent && !word.getAttribute('transform')
    ?.includes('rotate')).map((word) => [word.textContent, word.getBoundingClientRect()])
  const legend = words.filter(([, box]) => box.top > room.bottom - 60)
  return [
    ...words.filter(([, box]) => box.left < room.left - 1 || box.right > room.right + 1),
    ...legend.filter(([, a], i) => legend.slice(i + 1).some(([, b]) =>
      a.left < b.right && b.left < a.right && a.top < b.bottom - 3 && b.top < a.bottom - 3)),
  ].map(([text]) => text)
})"""


def test_words_have_room_in_a_browser(tmp_path: Path) -> None:
    match = shutil.which("fc-match")
    found = subprocess.check_output([match, "-f", "%{family[0]}", "Arial"], text=True) if match else "no fc-match"
    if found not in FONTS:
        pytest.skip(f"a machine without fonts of Arial's widths ({found}; apt-get install fonts-liberation fontconfig)")
    content = gather([rich.run("pi5", "onnx", sizes=(224, 320)), rich.run("jetson", "tflite", quick=True, day=2)])
    path = tmp_path / "charts.html"
    path.write_text(
        "<!doctype html><meta charset=utf-8>" + "\n".join(to_svg(f.chart) for f in figures(content, "black"))
    )
    with open_page(path, tmp_path / "profile") as page:
        page.until("document.readyState === 'complete' && document.querySelectorAll('svg').length > 4", 60)
        assert page.evaluate(CUT) == []
