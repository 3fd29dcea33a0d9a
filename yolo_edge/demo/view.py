"""The newest result as it goes to browsers: encoded once, however many look."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import cv2
import numpy as np

from yolo_edge.demo.inference import Model, Result, above
from yolo_edge.ondevice.draw import draw

LONGEST_SIDE = 1280  # of a picture in a browser, pixels
FASTEST = 30.0  # pictures a second that are encoded, at most
_QUALITY = 80

Encode = Callable[[Result], bytes]


class Shared:
    """The newest result for any number of viewers, who each ask for one that is newer than what they have.

    Results come from another thread; everything else belongs to the event loop. Encoding happens when somebody waits,
    in a thread, and what one viewer waits for all get.
    """

    def __init__(self, encode: Encode, pool: ThreadPoolExecutor):
        """Nothing is there yet.

        Args:
            encode: Result → bytes for a browser.
            pool: Where it runs.
        """
        self.latest: Result | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._encode, self._pool = encode, pool
        self._changed = asyncio.Event()
        self._job: asyncio.Task[tuple[int, bytes]] | None = None
        self._waiting = 0
        self._due = 0.0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which event loop it belongs to."""
        self.loop = loop

    def publish(self, result: Result) -> None:
        """Take a new result, in any thread."""
        self.latest = result
        if self._waiting and self.loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody looks any more
                self.loop.call_soon_threadsafe(self._changed.set)

    async def newer(self, number: int) -> tuple[int, bytes]:
        """The number of a frame after `number`, and its bytes, as soon as there is one."""
        self._waiting += 1
        try:
            while True:
                if self._job is None or self._job.done():
                    while self.latest is None or self.latest.frame.number <= number:
                        self._changed.clear()
                        if self.latest is None or self.latest.frame.number <= number:
                            await self._changed.wait()
                    # others may have begun meanwhile
                    if self._job is None or self._job.done():
                        self._job = asyncio.ensure_future(self._encoded())
                found, data = await asyncio.shield(self._job)
                if found > number:
                    return found, data
        finally:
            self._waiting -= 1

    async def _encoded(self) -> tuple[int, bytes]:
        now = time.monotonic()
        self._due = max(self._due + 1 / FASTEST, now)
        await asyncio.sleep(self._due - now)
        result = self.latest
        if result is None:
            raise RuntimeError("there is no result")  # asked for only when there is one
        data = await asyncio.get_running_loop().run_in_executor(self._pool, self._encode, result)
        return result.frame.number, data


def jpeg(image: np.ndarray) -> bytes:
    """A picture for a browser."""
    longest = max(image.shape[:2])
    if longest > LONGEST_SIDE:
        size = tuple(max(round(side * LONGEST_SIDE / longest), 1) for side in (image.shape[1], image.shape[0]))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise RuntimeError("OpenCV cannot encode a JPEG")
    return data.tobytes()


def encode_live(result: Result) -> bytes:
    """For the page, which draws the boxes: 4 bytes little-endian, how long the JSON is; the JSON; the JPEG.

    Boxes are [class id, confidence, x1, y1, x2, y2] in pixels of the source picture, whose size is given too.
    """
    start = time.perf_counter()
    picture = jpeg(result.frame.image)
    height, width = result.frame.image.shape[:2]
    header = {
        "number": result.frame.number,
        "width": width,
        "height": height,
        "waited_ms": round(result.waited_ms, 2),
        "latency_ms": round(result.latency_ms, 2),
        "encode_ms": round(1e3 * (time.perf_counter() - start), 2),
        "age_ms": round(1e3 * (time.monotonic() - result.frame.captured), 2),
        "found": [
            {
                "model": item.model,
                "preprocess_ms": round(item.preprocess_ms, 2),
                "inference_ms": round(item.inference_ms, 2),
                "postprocess_ms": round(item.postprocess_ms, 2),
                "boxes": [
                    [int(class_id), round(float(confidence), 4), *(round(float(side), 2) for side in box)]
                    for class_id, confidence, box in zip(
                        item.detections.class_id, item.detections.confidence, item.detections.xyxy, strict=True
                    )
                ],
            }
            for item in result.found
        ],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(4, "little") + text + picture


def encode_drawn(models: Sequence[Model], confidence: float) -> Encode:
    """For browsers that cannot do that: JPEGs with the boxes in them, of the first model that runs."""

    def encode(result: Result) -> bytes:
        found = result.found[0]
        names = models[found.model].detector.spec.names
        return jpeg(draw(result.frame.image, above(found.detections, confidence), names))

    return encode
