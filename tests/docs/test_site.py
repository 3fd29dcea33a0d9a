"""The site that `make docs` builds: whole, and asking no other machine for anything."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import open_page
from tests.docs.pages import PAGES
from tests.support import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does it; a warning is a failure."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    navigation = (site / "index.html").read_text()
    for page in PAGES[1:]:
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix().replace("README.html", "index.html")
        assert (site / name).is_file()
        assert f'href="{name}"' in navigation, name
    for name in ("guide", "reference/command-line", "reference/python", "reference/schemas", "project/changelog"):
        assert f'href="{name}.html"' in navigation


def test_the_reference_comes_from_the_code(site: Path) -> None:
    text = {
        page: (site / "reference" / f"{page}.html").read_text()
        for page in ("command-line", "python", "schemas", "boards")
    }
    assert "yolo-edge devices probe" in text["command-line"]
    assert "--min-agreement" in text["command-line"]
    assert "yolo-edge detect [OPTIONS] {MODEL} {IMAGE}...\n" in text["command-line"]
    assert "yolo-edge quickstart [OPTIONS] [DIR]\n" in text["command-line"]
    assert "A model file that finds objects in pictures" in text["python"]
    assert "check_canonical" in text["python"]
    # not onnx_ir's own Graph, which is another class
    assert 'id="yolo_edge.export.Graph"' in text["python"]
    assert "raw heads" in text["python"]
    assert 'id="onnx_ir' not in text["python"]
    assert 'id="spec-head"' in text["schemas"]
    assert "raspberry-pi-5" in text["boards"]
    for name in ("spec", "result", "plan", "front", "comparison"):
        assert (site / "reference" / "schemas" / f"{name}.schema.json").is_file()


def test_code_in_tables_shows_bars_without_backslashes(site: Path) -> None:
    assert "p50|p90|p99" in (site / "choose.html").read_text()
    assert not [page for page in site.rglob("*.html") if re.search(r"<code[^>]*>[^<\n]*\\\|", page.read_text())]


def test_lists_are_lists(site: Path) -> None:
    """Python-Markdown wants an empty line before a list behind a paragraph, GitHub does not."""
    for page in site.rglob("*.html"):
        assert not re.findall(r"<p>[^<]*(?:<(?!/p>)[^<]*)*\n- ", page.read_text()), page


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:link|script|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)", page.read_text()
        )
        assert not loaded, page
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^\"')]+", style.read_text()), style


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            pass  # the browser went on before it had all of a page

    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_in_a_browser(address: str, dark: bool, tmp_path: Path) -> None:
    with open_page(f"{address}/architecture.html", tmp_path / "profile", dark) as page:
        for name in ("architecture", "guide", "tasks/raspberry-pi", "reference/schemas"):
            page.call("Page.navigate", url=f"{address}/{name}.html")
            page.until(f"location.pathname === '/{name}.html' && document.readyState === 'complete'", 60)
            page.until(f"document.body.dataset.mdColorScheme === '{'slate' if dark else 'default'}'", 60)
            for width in (1240, 390):
                page.call(
                    "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
                )
                # its script puts wide tables into boxes that scroll
                page.until(f"document.documentElement.scrollWidth <= {width}", 60)
            if name == "architecture":
                paper = page.evaluate("getComputedStyle(document.querySelector('.drawing svg .paper')).fill")
                assert paper == ("rgb(30, 33, 41)" if dark else "rgb(255, 255, 255)")
        assert not page.complaints
        assert all(url.startswith(address) for url in page.requests)


def test_commands_go_on_in_the_next_line_and_are_copied_whole(address: str, tmp_path: Path) -> None:
    with open_page(f"{address}/tasks/quantize.html", tmp_path / "profile") as page:
        page.call("Emulation.setDeviceMetricsOverride", width=390, height=900, deviceScaleFactor=1, mobile=False)
        page.until("document.readyState === 'complete'", 60)
        code = "document.querySelector('.language-sh code')"
        page.until(f"{code}.getClientRects().length && {code}.scrollWidth <= {code}.clientWidth", 60)
        first = page.evaluate(f"{code}.innerText").splitlines()[0]
        assert first.startswith("yolo-edge export")
        assert first.endswith("--calibration data.yaml")


def test_options_are_found_by_their_names(address: str, tmp_path: Path) -> None:
    with open_page(f"{address}/index.html", tmp_path / "profile") as page:
        page.until("document.readyState === 'complete'", 60)
        # the search loads its index when it is first used; until then what is typed waits
        page.until(
            """(() => {
                const input = document.querySelector('.md-search__input')
                input.focus()
                input.__proto__.__lookupSetter__('value').call(input, '--min-agreement')
                input.dispatchEvent(new Event('keyup', {bubbles: true}))
                return [...document.querySelectorAll('.md-search-result__link')].some(
                    link => link.pathname === '/reference/command-line.html')
            })()""",
            60,
        )
        assert not page.complaints
