"""An hour's worth of frames of a demo in fast forward, with twenty viewers who come and go.

    python benchmarks/scripts/demo_soak.py yolo-fastest-1.1-320-fp32.onnx --frames 90000

The camera gives 640x480 pictures as fast as they are taken (an hour at 25 a second is 90 000). Viewers stay for a few
pictures or a few seconds; three in ten go without a word, one in ten takes nothing for a while. Watches the memory,
the threads and the descriptors of the process, and fails where they grow: memory by more than 10 MB after the first
tenth, a thread or a descriptor at the end.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from yolo_edge import Detector
from yolo_edge.demo.demo import FLOOR, Demo, Settings
from yolo_edge.demo.inference import Model
from yolo_edge.demo.sources import Taken

_GROWTH_MB = 10.0
_REPORTS = 20


class FastForward:
    """A camera without end whose pictures come as fast as they are taken; attributes as in `Source`."""

    def __init__(self) -> None:
        self.name, self.live = "fast forward", False
        self.fps: float | None = 25.0
        self.frames: int | None = None
        rng = np.random.default_rng(0)
        self._large = rng.integers(0, 256, (600, 800, 3), np.uint8)
        self._number = 0

    def open(self) -> None:
        """Begin."""

    def read(self) -> Taken | None:
        """The next picture: a part of a larger one."""
        self._number += 1
        x, y = self._number % 160, self._number % 120
        return np.ascontiguousarray(self._large[y : y + 480, x : x + 640]), time.monotonic()

    def close(self) -> None:
        """End."""


def main() -> None:
    """Run, watch and print; or look, as the process of the viewers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="an exported file")
    parser.add_argument("--frames", type=int, default=90_000)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--crowd", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crowd:
        crowd(options.crowd, options.viewers)
        return
    detector = Detector(options.model, confidence=FLOOR, threads=1)
    before = standing()
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/live"
    notes: list[str] = []
    with Demo(FastForward(), [Model("model", detector)], Settings(fps=0), notes.append, listening) as demo:
        command = [sys.executable, __file__, "--crowd", url, "--viewers", str(options.viewers)]
        visitors = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        sizes = []
        try:
            for report in range(1, _REPORTS + 1):
                while demo.inference.frames < options.frames * report / _REPORTS:
                    time.sleep(0.1)
                    if demo.inference.error:
                        raise demo.inference.error
                sizes.append(resident_mb())
                _, files = standing()
                viewers = demo.server.viewers if demo.server else 0
                print(
                    f"{demo.inference.frames:7} frames  {sizes[-1]:6.1f} MB  {files:3} descriptors  {viewers:2} viewers"
                )
            visits, _ = visitors.communicate("enough\n")
        finally:
            visitors.kill()
        print(demo.summary())
    after = standing()
    settled = sizes[_REPORTS // 10 :]
    print(f"{visits.strip()} visits; memory {min(settled):.1f} to {max(settled):.1f} MB after the first tenth")
    print(f"threads and descriptors before {before}, after {after}; notes: {notes}")
    if max(settled) - settled[0] > _GROWTH_MB or after[0] > before[0] or after[1] > before[1] or notes:
        raise SystemExit("something grew, or was left behind")


def resident_mb() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def standing() -> tuple[int, int]:
    """How many threads Python knows, and how many descriptors are open."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def crowd(url: str, count: int) -> None:
    """So many viewers at a time, until a line comes; print how many visits there were."""
    enough, visits = threading.Event(), [0] * count
    threads = [threading.Thread(target=visit, args=(url, i, enough, visits)) for i in range(count)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    enough.set()
    for thread in threads:
        thread.join()
    print(sum(visits))


def visit(url: str, number: int, enough: threading.Event, visits: list[int]) -> None:
    """One viewer after the other."""
    chance = random.Random(number)  # noqa: S311 - for variety alone
    while not enough.is_set():
        try:
            with connect(url, compression=None, max_size=1 << 24) as page:
                leave = time.monotonic() + chance.uniform(0, 8)
                if chance.random() < 0.1:  # asks, and takes nothing
                    page.send('{"ready": 2}')
                    enough.wait(chance.uniform(0, 3))
                while time.monotonic() < leave and not enough.is_set():
                    page.send(json.dumps({"ready": 1}))
                    while isinstance(page.recv(30), str):
                        pass
                    enough.wait(chance.choice([0, 0.02, 0.3]))
                if chance.random() < 0.3:
                    page.socket.shutdown(socket.SHUT_RDWR)
        except (OSError, WebSocketException) as error:
            if not enough.is_set() and not isinstance(error, WebSocketException):
                raise
        visits[number] += 1


if __name__ == "__main__":
    main()
