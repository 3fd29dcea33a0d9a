"""int8 export against onnxruntime's own quantizer: time, memory, installed size, loss of mAP, speed of the file.

    python benchmarks/scripts/export_peers.py MODEL.cfg --calibration pictures/ --data instances.json

Both get the same calibration pictures, prepared alike. `yolo-edge export --precision int8` starts from the cfg; the
other, `onnxruntime.quantization.quantize_static` in QDQ form with weights per channel, from our fp32 file with raw
heads: what stands behind the heads in other files, which it would quantize too, is not there. Each runs in a process
of its own. The loss is `yolo-edge validate`'s, with its interval; installed sizes are those of all files that pip put
there for `yolo-edge[export]`, and for onnxruntime and onnx, with what they need.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx

from yolo_edge import Detector
from yolo_edge.ondevice.agent.worker import synthetic_picture
from yolo_edge.ondevice.spec import METADATA_KEY
from yolo_edge.timing import interleave, median_ratio

QUANTIZE = """
import sys
from pathlib import Path
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static
from yolo_edge import Detector
from yolo_edge.ondevice.images import read_image
source, target, method, *pictures = sys.argv[1:]
detector = Detector(source)
class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = iter(pictures)
    def get_next(self):
        path = next(self.left, None)
        return None if path is None else {"images": detector.preprocess(read_image(path))[0].copy()}
quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                calibrate_method=CalibrationMethod[method])
"""


def run(command: Sequence[object]) -> tuple[float, float]:
    """Seconds, and peak memory in MB, of a program."""
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command[0]}: failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


def installed_mb(*names: str) -> float:
    """The size of packages with all that they need, as far as it is installed."""
    waiting, seen, size = list(names), set(), 0
    while waiting:
        name, _, extra = waiting.pop().lower().replace("_", "-").partition("[")
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if (name, "counted") not in seen:
            size += sum(file.size or 0 for file in distribution.files or ())
            seen.add((name, "counted"))
        for text in distribution.requires or ():
            needed, _, condition = text.partition(";")
            wanted = re.search(r"extra == ['\"]([\w-]+)", condition)
            if wanted is None or wanted.group(1) == extra.rstrip("]"):
                waiting.append(re.split(r"[\s<>=!~(]", needed.strip())[0])
    return size / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.cfg")
    parser.add_argument("--calibration", type=Path, required=True, help="a folder of pictures")
    parser.add_argument("--data", type=Path, required=True, help="a labelled dataset, as validate takes it")
    parser.add_argument("--images", type=int, default=32, help="of the calibration")
    options = parser.parse_args()
    pictures = sorted(options.calibration.glob("*.jpg"))[: options.images]
    program = Path(sys.executable).parent / "yolo-edge"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = folder / "pictures"
        chosen.mkdir()
        for picture in pictures:
            (chosen / picture.name).symlink_to(picture.absolute())
        run([program, "export", options.model, "-o", folder])
        (fp32,) = folder.glob("*-fp32.onnx")
        figures, files = {}, {}
        ours = folder / "ours"
        figures["yolo-edge export"] = run(
            [program, "export", options.model, "-o", ours, "--precision", "int8", "--calibration", chosen]
        )
        (files["yolo-edge export"],) = ours.glob("*.onnx")
        for method in ("MinMax", "Percentile"):
            side = f"quantize_static, {method}"
            files[side] = folder / f"{method}.onnx"
            figures[side] = run([sys.executable, "-c", QUANTIZE, fp32, files[side], method, *pictures])
            _with_spec(fp32, files[side])
        command = [program, "validate", fp32, *files.values(), "--data", options.data, "--json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, check=True)  # noqa: S603
        judged = {row["model"]: row for row in json.loads(done.stdout)}
        calls = {str(path): _inference(path) for path in (fp32, *files.values())}
        samples = interleave(calls, seconds=15)
        print(f"{options.model.name}, {len(pictures)} calibration pictures, {judged[str(fp32)]['images']} judged")
        print("\n| int8 by | seconds | peak, MB | change of mAP50, points | inference, of fp32's |")
        print("|---|--:|--:|---|---|")
        for side, (seconds, peak) in figures.items():
            row = judged[str(files[side])]
            mean, low, high = (100 * value for value in row["difference"]["mAP50"])
            ratio = median_ratio(samples[str(files[side])], samples[str(fp32)])
            print(f"| {side} | {seconds:.1f} | {peak:.0f} | {mean:+.1f} [{low:+.1f}, {high:+.1f}] | {ratio} |")
    sizes = (installed_mb("yolo-edge[export]"), installed_mb("onnxruntime", "onnx"))
    print(f"\ninstalled: yolo-edge[export] {sizes[0]:.0f} MB, onnxruntime and onnx {sizes[1]:.0f} MB")


def _with_spec(source: Path, target: Path) -> None:
    """Copy the spec: what the quantizer writes has the same heads."""
    model: Any = onnx.load(target)
    given = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    onnx.helper.set_model_props(model, {METADATA_KEY: given[METADATA_KEY]})
    onnx.save(model, target)


def _inference(path: Path) -> Any:
    detector = Detector(path, threads=1)
    return partial(detector.runtime.run, detector.preprocess(synthetic_picture())[0].copy("K"))


if __name__ == "__main__":
    main()
