"""The page in a real browser, with the real onnxruntime-web and real detectors."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.browser import Page, open_page
from tests.int8_support import quantize
from tests.support import wait_for
from yolo_edge.benchmarks.result_file import json_schema, read_result
from yolo_edge.benchmarks.results import BenchmarkResult
from yolo_edge.devices.web.package import NAME, VERSION, find_ort_web
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.files import cache_folder
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Preprocessor

# a few inferences: what is measured is not looked at here
SHORT = ("--quick", "--repeats", "1", "--seconds", "0.01", "--inferences", "2")
# a name that is no loopback to the browser, so that a page of plain HTTP has no secure context
ELSEWHERE = "phone.test"
FLAGS = (f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",)
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def ort_web() -> Path:
    """The package of the npm registry, in the cache."""
    try:
        find_ort_web()
        return cache_folder() / f"{NAME}-{VERSION}"
    except YoloEdgeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def models(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """yolo-fastest in fp32, and in int8 by the ranges of the picture that it is tested on."""
    folder = tmp_path_factory.mktemp("models")
    source = load_model(assets / "darknet/yolo-fastest/yolo-fastest-1.1.cfg")
    graph = canonicalize(source.graph)
    tensor = Preprocessor(source.spec.input)(read_image(assets / "images/dog.jpg"))[0]
    (folder / "fp32.onnx").write_bytes(write_onnx(graph, source.spec))
    (folder / "int8.onnx").write_bytes(write_onnx(quantize(graph, [tensor]), source.spec, "int8"))
    return [folder / "fp32.onnx", folder / "int8.onnx"]


@dataclass
class Running:
    """The command, and what it said so far."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        found = wait_for(lambda: re.search(r"Open (\S+) ", self.said) or self.process.poll() is not None, 60)
        assert isinstance(found, re.Match), self.said
        return found[1]

    def end(self) -> int:
        code = self.process.wait(120)
        wait_for(lambda: self.process.stderr is None or self.process.stderr.closed, 60)
        return code


@contextmanager
def command(*arguments: object, token: str | None = None, **variables: str) -> Iterator[Running]:
    environment = {**os.environ, **({"YOLO_EDGE_TOKEN": token} if token else {}), **variables}
    line = [sys.executable, "-m", "yolo_edge", "devices", "web", *map(str, arguments), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    running = Running(process)

    def read() -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for text in stream:
                running.lines.append(text)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        thread.join(60)


def until(page: Page, expression: str) -> Any:
    return page.until(expression, 120)


def text(page: Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))


def start(page: Page) -> None:
    until(page, "document.querySelector('#start') && !document.querySelector('#start').disabled")
    page.evaluate("document.querySelector('#start').click()")


def result_in(folder: Path) -> BenchmarkResult:
    (saved,) = folder.iterdir()
    jsonschema.validate(json.loads(saved.read_bytes()), json_schema())
    return read_result(saved)


def check_detections(result: BenchmarkResult, models: Sequence[Path], picture: Path) -> None:
    """As many as this machine finds, and the same; int8 to the bit."""
    for cell in result.cells:
        model = models[0] if cell.model.endswith("fp32.onnx") else models[1]
        assert cell.detections == len(Detector(model)(read_image(picture))) > 0
        assert cell.agreement == pytest.approx(1, abs=1e-3)
        assert cell.snr_db is not None
        assert cell.snr_db > (100 if model == models[0] else 60)
        assert cell.latency_ms.p50 > 0
        assert not any("differ" in reason for reason in (cell.invalid_reason or "",))


def test_isolated(ort_web: Path, models: list[Path], assets: Path, tmp_path: Path) -> None:
    picture, out = assets / "images/dog.jpg", tmp_path / "out"
    with command(*models, *SHORT, "--image", picture, "-o", out, "--threads", "1,2", "--name", "test phone") as running:
        with open_page(running.url, tmp_path / "profile") as page:
            page.call("Emulation.setDeviceMetricsOverride", **PHONE)
            until(page, "document.querySelector('#label').value === 'test phone'")
            assert page.evaluate("crossOriginIsolated")
            assert "yes: the page is cross-origin isolated" in text(page, "#facts")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            controls = "[...document.querySelectorAll('button, input, progress')]"
            name = "c.labels?.[0]?.textContent || c.textContent || c.getAttribute('aria-labelledby')"
            names = page.evaluate(f"{controls}.map((c) => {name})")
            assert all(name.strip() for name in names), names
            start(page)
            until(page, "document.querySelector('#percent').innerText !== '0 %'")
            until(page, "document.querySelector('#state').innerText === 'done'")
            rows = page.evaluate("[...document.querySelectorAll('#cells tr')].map((row) => row.innerText)")
            assert len(rows) == 4
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert page.complaints == []
            assert {url.split("/")[2] for url in page.requests} == {running.url.split("/")[2]}
        assert running.end() == 0, running.said
    result = result_in(out)
    assert [(cell.threads, cell.device) for cell in result.cells] == [(1, "test phone"), (2, "test phone")] * 2
    assert result.host.browser is not None
    assert (result.host.browser.isolated, result.host.browser.secure) == (True, True)
    assert "Chrome/" in result.host.browser.user_agent
    check_detections(result, models, picture)


def test_not_isolated_behind_a_token(ort_web: Path, models: list[Path], assets: Path, tmp_path: Path) -> None:
    picture, out = assets / "images/dog.jpg", tmp_path / "out"
    token = "correct-horse"  # noqa: S105 - of the test
    with command(*models, *SHORT, "--image", picture, "-o", out, token=token) as running:
        assert token not in running.url
        port = running.url.split(":")[2].strip("/")
        url = f"http://{ELSEWHERE}:{port}/"
        with open_page(f"{url}?token=wrong-horse", tmp_path / "profile", dark=True, flags=FLAGS) as page:
            page.call("Emulation.setDeviceMetricsOverride", **PHONE)
            until(page, "document.querySelector('form label').innerText.includes('asks for a token')")
            page.evaluate("document.querySelector('#token').value = 'correct-horse'")
            page.evaluate("document.querySelector('button').click()")
            until(page, "document.querySelector('#why-one').innerText.includes('plain HTTP')")
            assert page.evaluate("[crossOriginIsolated, location.href]") == [False, url]
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            start(page)
            until(page, "document.querySelector('#state').innerText === 'done'")
        assert running.end() == 0, running.said
    assert "a wrong token for /" in running.said
    assert "measured with 1 thread alone" in running.said
    result = result_in(out)
    assert [cell.threads for cell in result.cells] == [1, 1]
    assert result.host.browser is not None
    assert (result.host.browser.isolated, result.host.browser.secure) == (False, False)
    check_detections(result, models, picture)


def test_https_isolates(ort_web: Path, models: list[Path], tmp_path: Path) -> None:
    flags = [*FLAGS, "--ignore-certificate-errors"]
    options = (*SHORT, "--https", "--threads", 2, "-o", tmp_path / "out", "--ort-web", ort_web, "--token", "auto")
    with command(models[0], *options, XDG_CACHE_HOME=str(tmp_path / "cache")) as running:
        assert running.url.startswith("https://127.0.0.1:")
        assert "this SHA-256: " in wait_for(lambda: "SHA-256" in running.said and running.said, 60)
        url = running.url.replace("127.0.0.1", ELSEWHERE)
        with open_page(url, tmp_path / "profile", flags=flags) as page:
            start(page)
            until(page, "document.querySelector('#state').innerText === 'done'")
            assert page.complaints == []
        assert running.end() == 0, running.said
    result = result_in(tmp_path / "out")
    assert result.host.browser is not None
    assert (result.host.browser.isolated, result.cells[0].threads) == (True, 2)
    assert result.host.versions["onnxruntime-web"] == "unknown"  # the folder has no package.json
    assert [path.name for path in (tmp_path / "cache/yolo-edge").iterdir()] == ["certificate"]


def test_a_tab_that_is_closed_and_the_next_one(ort_web: Path, models: list[Path], tmp_path: Path) -> None:
    long = ("--quick", "--repeats", "1", "--seconds", "600", "--threads", "1")
    with command(models[0], *long) as running, open_page(running.url, tmp_path / "profile") as page:
        url = running.url
        start(page)
        until(page, "document.querySelectorAll('#cells tr').length")
        # a second page, in another tab
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        other = Page(page.send, page.receive, number=1000)
        other.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        other.call("Page.navigate", url=url)
        start(other)
        until(other, "document.querySelector('#banner').innerText.includes('It cannot begin: another page')")
        other.call("Page.close")
        # a page in the background measures nothing
        for hidden in ("true", "false"):
            page.evaluate(f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }})")
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            until(
                page,
                f"document.querySelector('#state').innerText === '{'waiting' if hidden == 'true' else 'measuring'}'",
            )
        wait_for(lambda: "the page is in the background, nothing is measured" in running.said, 60)
        samples = "[...document.querySelectorAll('#cells td')].at(-1).innerText"
        before = page.evaluate(samples)
        until(page, f"{samples} !== '{before}'")
        page.call("Page.close")
        assert running.end() == 1
        assert running.said.endswith("browser: the page was closed before the end\n")
        assert "refused: 127.0.0.1: another page is being measured" in running.said


def test_the_end_of_the_command_is_told(ort_web: Path, models: list[Path], tmp_path: Path) -> None:
    with command(models[0], "--quick", "--seconds", "600", "--threads", "1") as running:
        with open_page(running.url, tmp_path / "profile") as page:
            start(page)
            until(page, "document.querySelectorAll('#cells tr').length")
            running.process.terminate()
            until(page, "document.querySelector('#banner').innerText === 'It is over: it was stopped'")
            assert text(page, "#state") == "ended"
        assert running.end() == 143
