"""Frames a second of a demo with a viewer, as a share of those of `Detector` alone on the same frames.

    python benchmarks/scripts/demo_speed.py yolo-fastest-1.1-320-fp32.onnx street.mp4

In turns: `Detector` in a bare loop over the decoded frames of the video; the demo, which reads and decodes the video,
detects, encodes and serves, while a viewer in a process of its own takes pictures as fast as it gets them. Both with as
many threads for one inference. Prints medians of both and the ratio with its 95 % interval.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from websockets.sync.client import connect

from yolo_edge import Detector
from yolo_edge.demo.demo import FLOOR, Demo, Settings
from yolo_edge.demo.inference import Model
from yolo_edge.demo.sources import open_source
from yolo_edge.timing import median_ratio

_MOST_FRAMES = 300


def main() -> None:
    """Measure and print; or look, as the process of the viewer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="an exported file")
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3, help="of each of the two, in each round")
    parser.add_argument("--threads", type=int, default=max((os.cpu_count() or 1) - 1, 1), help="of one inference")
    parser.add_argument("--viewer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.viewer:
        look(options.viewer)
        return
    if options.video is None:
        parser.error("a model and a video, please")
    frames = read(options.video)
    detector = Detector(options.model, confidence=FLOOR, threads=options.threads)
    alone, shown, seen = [], [], 0
    for _ in range(options.rounds):
        alone.append(1 / measure_alone(detector, frames, options.seconds))
        rate, pictures = measure_demo(detector, options.video, options.seconds)
        shown.append(1 / rate)
        seen += pictures
    ratio = median_ratio(np.array(alone), np.array(shown))  # of times, so that it is that of rates, turned over
    size = f"{frames[0].shape[1]}x{frames[0].shape[0]}"
    print(f"{options.model.name}, {size}, threads={options.threads}, {options.rounds} rounds of {options.seconds:g} s")
    print(f"  Detector alone: {1 / np.median(alone):.1f} frames a second")
    print(f"  demo:           {1 / np.median(shown):.1f}, {seen / options.rounds / options.seconds:.1f} of them shown")
    print(f"  demo as a share of Detector alone: {ratio}")


def read(video: Path) -> list[np.ndarray]:
    """The frames of a video, the first 300 of them."""
    capture = cv2.VideoCapture(str(video))
    frames: list[np.ndarray] = []
    while len(frames) < _MOST_FRAMES and (taken := capture.read())[0]:
        frames.append(np.asarray(taken[1], np.uint8))
    return frames


def measure_alone(detector: Detector, frames: list[np.ndarray], seconds: float) -> float:
    """Frames a second of a bare loop."""
    detector(frames[0])
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        detector(frames[done % len(frames)])
        done += 1
    return done / (time.perf_counter() - begun)


def measure_demo(detector: Detector, video: Path, seconds: float) -> tuple[float, int]:
    """Frames a second of a demo that somebody looks at, and how many pictures they got."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/live"
    settings = Settings(fps=0, loop=True)
    with Demo(open_source(str(video)), [Model("model", detector)], settings, print, listening) as demo:
        command = [sys.executable, __file__, "--viewer", url]
        viewer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        try:
            if viewer.stdout is None or viewer.stdout.readline() != "looking\n":
                raise SystemExit("the viewer does not look")
            begun, frames = time.perf_counter(), demo.inference.frames
            time.sleep(seconds)
            rate = (demo.inference.frames - frames) / (time.perf_counter() - begun)
            counted, _ = viewer.communicate("enough\n")
        finally:
            viewer.kill()
    return rate, int(counted)


def look(url: str) -> None:
    """Take pictures until a line comes; print how many there were."""
    import threading  # noqa: PLC0415 - of the viewer alone

    enough = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        enough.set()

    threading.Thread(target=listen, daemon=True).start()
    with connect(url, compression=None, max_size=1 << 24) as socket_of_page:
        socket_of_page.send(json.dumps({"ready": 2}))
        count = 0
        while not enough.is_set():
            if isinstance(socket_of_page.recv(30), bytes):
                socket_of_page.send(json.dumps({"ready": 1}))
                count += 1
                if count == 5:
                    print("looking", flush=True)
    print(count)


if __name__ == "__main__":
    main()
