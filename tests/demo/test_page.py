"""The page in a real browser, with real detectors on a video of real pictures."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.browser import Page, open_page
from tests.demo.support import demo_of, read_video, write_video
from tests.support import wait_for
from yolo_edge import Detector
from yolo_edge.demo.demo import FLOOR, Demo
from yolo_edge.demo.inference import Model
from yolo_edge.demo.sources import open_source
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.draw import color_of

PICTURES = ("dog.jpg", "person.jpg", "bus.jpg")
SIZE = (640, 480)
EACH = 12  # frames of one picture


@pytest.fixture(scope="module")
def video(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [cv2.resize(cv2.imread(str(assets / "images" / name)), SIZE) for name in PICTURES]
    return write_video(
        tmp_path_factory.mktemp("video") / "street.mp4", [image for image in images for _ in range(EACH)], 12, "mp4v"
    )


@pytest.fixture(scope="module")
def models(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    source = load_model(assets / "darknet/yolo-fastest/yolo-fastest-1.1.cfg")
    graph = canonicalize(source.graph)
    (folder / "fastest.onnx").write_bytes(write_onnx(graph, source.spec))
    (folder / "fastest-fp16.tflite").write_bytes(write_tflite(graph, source.spec, "fp16"))
    return [folder / "fastest.onnx", folder / "fastest-fp16.tflite"]


@pytest.fixture
def demo(video: Path, models: list[Path]) -> Iterator[tuple[Demo, str, list[str]]]:
    loaded = [Model(path.name, Detector(path, confidence=FLOOR, threads=1)) for path in models]
    notes: list[str] = []
    with demo_of(open_source(str(video)), loaded, view=True, loop=True, notes=notes) as running:
        assert running.server is not None
        yield running, f"http://127.0.0.1:{running.server.port}/", notes


def text(page: Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))


def until(page: Page, expression: str) -> Any:
    return page.until(expression, 30)


def paused_at(page: Page, part: int) -> int:
    """Wait for the first model's picture from this part of the video, and pause; the frame's number."""
    frame = f"document.querySelector('#seen').dataset.frame % {len(PICTURES) * EACH}"
    until(page, f"{frame} >= {part * EACH + 2} && {frame} < {part * EACH + EACH - 4}")
    press(page, " ")
    until(page, "document.querySelector('#state').textContent == 'paused'")
    page.evaluate("dispatchEvent(new Event('resize'))")
    return int(page.evaluate("Number(document.querySelector('figure canvas').dataset.frame)"))


def press(page: Page, key: str) -> None:
    page.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def listed(page: Page) -> list[tuple[str, float, list[int]]]:
    items = page.evaluate("[...document.querySelectorAll('#seen li')].map((item) => item.textContent)")
    matches = [re.fullmatch(r"(.+) (\d\.\d\d) at (\d+), (\d+), (\d+), (\d+)", item) for item in items]
    return [(m[1], float(m[2]), [int(m[i]) for i in range(3, 7)]) for m in matches if m]


def expected(detector: Detector, found: Detections) -> list[tuple[str, float, list[int]]]:
    names = detector.spec.names
    rows = zip(found.class_id, found.confidence, found.xyxy, strict=True)
    return [(names[i], round(float(c), 2), [round(float(side)) for side in box]) for i, c, box in rows]


def assert_same(page: list[tuple[str, float, list[int]]], other: list[tuple[str, float, list[int]]]) -> None:
    assert len(page) == len(other) > 0
    for seen, wanted in zip(sorted(page), sorted(other), strict=True):
        assert seen[0] == wanted[0]
        assert seen[1] == pytest.approx(wanted[1], abs=0.011)
        assert np.abs(np.subtract(seen[2], wanted[2])).max() <= 1  # .5 is rounded in two ways


def colors_at(page: Page, points: list[tuple[float, float]]) -> list[list[int]]:
    """Colours of the first canvas at points of the source picture."""
    script = f"""(() => {{
      const canvas = document.querySelector('figure canvas');
      const copy = new OffscreenCanvas(canvas.width, canvas.height);
      const context = copy.getContext('2d', {{ willReadFrequently: true }});
      context.drawImage(canvas, 0, 0);
      return {json.dumps(points)}.map(([x, y]) =>
        [...context.getImageData(
          Math.round(x * canvas.width / {SIZE[0]}), Math.round(y * canvas.height / {SIZE[1]}), 1, 1).data]);
    }})()"""
    found: list[list[int]] = page.evaluate(script)
    return found


def test_boxes_are_where_detect_puts_them(
    demo: tuple[Demo, str, list[str]], video: Path, models: list[Path], tmp_path: Path
) -> None:
    running, url, notes = demo
    detector = Detector(models[0])
    frames = read_video(video)[1]
    with open_page(url, tmp_path) as page:
        for part in range(len(PICTURES)):
            number = paused_at(page, part)
            found = detector(frames[number % len(frames)])
            assert_same(listed(page), expected(detector, found))
            # and on the canvas: the best box is on top, so its right edge has its colour, where no label lies
            best = found.xyxy[0]
            middle = (best[1] + best[3]) / 2
            edge = [(float(best[2]), float(middle + shift)) for shift in (-9, -4, 0, 4, 9)]
            blue, green, red = color_of(int(found.class_id[0]))
            near = [np.abs(np.subtract(c[:3], (red, green, blue))).max() < 60 for c in colors_at(page, edge)]
            assert sum(near) >= 3
            press(page, " ")
            until(page, "document.querySelector('#state').textContent == 'live'")
        assert page.complaints == []
        assert {request.split("/")[2] for request in page.requests} == {url.split("/")[2]}
    assert notes == []
    assert running.inference.error is None


def test_controls(demo: tuple[Demo, str, list[str]], video: Path, models: list[Path], tmp_path: Path) -> None:
    running, url, _ = demo
    frames = read_video(video)[1]
    with open_page(url, tmp_path) as page:
        number = paused_at(page, 0)
        detector = Detector(models[0], confidence=0.6)
        # confidence, by the slider
        page.evaluate(
            "(s => { s.value = 0.6; s.dispatchEvent(new Event('input')) })(document.querySelector('#confidence'))"
        )
        assert text(page, "#confidence-shown") == "0.60"
        found = detector(frames[number % len(frames)])
        assert_same(listed(page), expected(detector, found))
        # and by keys, down to what the server gives
        for _ in range(20):
            press(page, "-")
        assert text(page, "#confidence-shown") == "0.10"
        low = listed(page)
        assert len(low) > len(found)
        for _ in range(3):
            press(page, "+")
        assert text(page, "#confidence-shown") == "0.25"
        # classes
        chips = "[...document.querySelectorAll('.chip')]"
        page.evaluate(f"{chips}.find((chip) => chip.textContent.startsWith('dog')).querySelector('input').click()")
        assert "dog" in {name for name, *_ in low}
        assert "dog" not in {name for name, *_ in listed(page)}
        page.evaluate("document.querySelector('#all-classes').click()")
        assert "dog" in {name for name, *_ in listed(page)}
        assert "Nothing was seen" not in page.evaluate("document.querySelector('#classes').innerText")
        # a snapshot is a file, and stays in the browser
        page.evaluate("HTMLAnchorElement.prototype.click = function () { window.got = this.download }")
        press(page, "s")
        assert until(page, "window.got") == f"yolo-edge-{number}.jpg"
        press(page, " ")
        # models: by key, and side by side
        press(page, "2")
        wait_for(lambda: running.inference.chosen == (1,))
        until(page, "document.querySelectorAll('.model input')[1].checked")
        press(page, "b")
        wait_for(lambda: running.inference.chosen == (1, 0))
        until(page, "!document.querySelectorAll('figure')[1].hidden")
        until(page, "document.querySelectorAll('figcaption')[1].textContent.startsWith('fastest.onnx: ')")
        page.evaluate(
            "(s => { s.value = ''; s.dispatchEvent(new Event('change')) })(document.querySelector('#beside'))"
        )
        until(page, "document.querySelectorAll('figure')[1].hidden")
        press(page, "?")
        assert page.evaluate("document.querySelector('#help').open")
        assert page.complaints == []


def test_two_pages_and_figures(demo: tuple[Demo, str, list[str]], tmp_path: Path) -> None:
    _, url, _ = demo
    with open_page(url, tmp_path / "a") as page, open_page(url, tmp_path / "b", dark=True) as other:
        until(page, "document.querySelector('#machine').textContent.includes('viewers2')")
        for one in (page, other):
            until(one, "document.querySelector('#fps').textContent > 0")
            until(one, "document.querySelectorAll('#split i').length == 5")
            until(one, "document.querySelector('#chart-text').textContent.includes('person')")
        papers = [one.evaluate("getComputedStyle(document.body).backgroundColor") for one in (page, other)]
        assert papers == ["rgb(242, 244, 247)", "rgb(16, 19, 23)"]
        for width in (390, 1240):
            page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=2, mobile=width < 500
            )
            until(
                page,
                f"Math.abs(document.querySelector('figure canvas').clientWidth - {390 if width < 500 else 848}) < 60",
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        # every control has a name
        controls = "[...document.querySelectorAll('button, input, select')]"
        names = page.evaluate(f"{controls}.map((c) => c.labels?.[0]?.textContent || c.textContent)")
        assert all(name.strip() for name in names), names
        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 50_000


def test_the_page_says_what_is_wrong_and_comes_back(
    video: Path, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [Model("fastest", Detector(models[0], confidence=FLOOR, threads=1))]
    with demo_of(open_source(str(video)), loaded, view=True) as running:
        assert running.server is not None
        url = f"http://127.0.0.1:{running.server.port}/"
        with open_page(url, tmp_path) as page:
            until(page, "document.querySelector('#state').textContent == 'live'")
            monkeypatch.setattr(running.reader, "lost", "<b>the cable</b>")
            until(page, "document.querySelector('#banner').textContent.includes('<b>the cable</b>')")
            monkeypatch.setattr(running.reader, "lost", None)
            until(page, "document.querySelector('#banner').hidden")
            # the server drops it
            live = running.server.live
            assert live.loop is not None
            for connection in list(running.server.connections):
                live.loop.call_soon_threadsafe(connection.transport.abort)
            until(page, "document.querySelector('#state').textContent == 'no connection'")
            until(page, "document.querySelector('#state').textContent == 'live'")
            running.inference.done.wait(30)
            running.why = "the source ended"
            running.__exit__()
            until(page, "document.querySelector('#banner').textContent.startsWith('It is over: the source ended')")
            time.sleep(1)  # and it does not try again
            assert page.complaints == []


def test_the_door(video: Path, models: list[Path], tmp_path: Path) -> None:
    loaded = [Model("fastest", Detector(models[0], confidence=FLOOR, threads=1))]
    with demo_of(open_source(str(video)), loaded, view=True, token="correct-horse", loop=True) as running:  # noqa: S106
        assert running.server is not None
        url = f"http://127.0.0.1:{running.server.port}/"
        with open_page(url, tmp_path) as page:
            until(page, "!!document.querySelector('#token')")
            page.evaluate("document.querySelector('#token').value = 'correct-horse'")
            page.evaluate("document.querySelector('button').click()")
            until(page, "document.querySelector('#state')?.textContent == 'live'")
            assert page.evaluate("location.href") == url  # the token is not in it
            until(page, "document.querySelector('#seen').dataset.frame")
            assert [complaint for complaint in page.complaints if "401" not in complaint] == []
