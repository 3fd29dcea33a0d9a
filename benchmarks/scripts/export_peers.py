"""int8 export against other quantizers: time, memory, installed size, loss of mAP, speed of the file.

    pip install nncf
    python benchmarks/scripts/export_peers.py MODEL --calibration pictures/ --data instances.json

All get the same calibration pictures, prepared alike. `yolo-edge export --precision int8` starts from the model; the
others from our fp32 file with raw heads: what stands behind the heads in other files, which they would quantize too, is
not there. They are, each with its defaults otherwise and in a process of its own:

- ONNX: onnxruntime's `quantize_static` in QDQ form with weights per channel; `nncf.quantize` where it is installed
- TFLite: onnx2tf's integer file with float32 inputs and outputs, where `--onnx2tf` names its program: it wants
  TensorFlow, so an environment of its own (`pip install onnx2tf tensorflow-cpu`)

The loss is `yolo-edge validate`'s, with its interval. The speed is a multiple of the fp32 file's of that format, with
one thread. Installed sizes are those of all files that pip put there, with what they need.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from yolo_edge import Detector, ModelSpec
from yolo_edge.export.tflite.metadata import archive
from yolo_edge.ondevice.agent.worker import synthetic_picture
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime
from yolo_edge.ondevice.spec import METADATA_KEY, Head
from yolo_edge.timing import interleave, median_ratio

PROGRAM = Path(sys.executable).parent / "yolo-edge"
PREPARE = """
import sys
import onnx
from yolo_edge import Detector
from yolo_edge.ondevice.images import read_image
source, target, method, *pictures = sys.argv[1:]
detector = Detector(source)
def prepare(path):
    return {detector.runtime.input_name: detector.preprocess(read_image(path))[0].copy()}
"""
QUANTIZE = f"""{PREPARE}
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static
class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = iter(pictures)
    def get_next(self):
        path = next(self.left, None)
        return None if path is None else prepare(path)
quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                calibrate_method=CalibrationMethod[method])
"""
NNCF = f"""{PREPARE}
import nncf
onnx.save(nncf.quantize(onnx.load(source), nncf.Dataset(pictures, prepare), subset_size=len(pictures)), target)
"""
# name → program, what it is told, and what has to be installed
OTHERS = {
    "quantize_static, MinMax": (QUANTIZE, "MinMax", ("onnxruntime", "onnx")),
    "quantize_static, Percentile": (QUANTIZE, "Percentile", ("onnxruntime", "onnx")),
    "NNCF": (NNCF, "", ("nncf", "onnxruntime", "onnx")),
}
# a file of samples that onnx2tf would fetch from its releases, for checks of its own
ONNX2TF_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"


@dataclass(frozen=True)
class Made:
    """What a side made.

    Attributes:
        file: Of int8.
        seconds: It took.
        peak_mb: Its memory.
    """

    file: Path
    seconds: float
    peak_mb: float


def run(command: Sequence[object], folder: Path | None = None) -> tuple[float, float]:
    """Seconds, and peak memory in MB, of a program."""
    began = time.perf_counter()
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=folder)  # noqa: S603 - our own, the user's own
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


def ours(model: Path, chosen: Path, folder: Path, format_: str) -> Made:
    """`yolo-edge export` to one format."""
    options = ["--format", format_, "--precision", "int8", "--calibration", chosen]
    figures = run([PROGRAM, "export", model, "-o", folder / format_, *options])
    (file,) = (folder / format_).glob(f"*.{format_}")
    return Made(file, *figures)


def onnx_sides(fp32: Path, pictures: Sequence[Path], folder: Path) -> dict[str, Made]:
    """The other quantizers of ONNX files, as far as they are installed."""
    made: dict[str, Made] = {}
    for side, (text, method, needed) in OTHERS.items():
        if not all(map(installed_mb, needed)):
            print(f"{side}: not installed", file=sys.stderr)
            continue
        target = folder / f"{len(made)}.onnx"
        made[side] = Made(target, *run([sys.executable, "-c", text, fp32, target, method, *pictures]))
        _copy_spec(fp32, target)
    return made


def _copy_spec(source: Path, target: Path) -> None:
    """What the quantizers write has the same heads."""
    model: Any = onnx.load(target)
    given = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    onnx.helper.set_model_props(model, {METADATA_KEY: given[METADATA_KEY]})
    onnx.save(model, target)


def onnx2tf(program: Path, fp32: Path, ours: Detector, pictures: Sequence[Path], folder: Path) -> Made:
    """onnx2tf's integer file, with our spec behind it.

    Args:
        program: Of its environment.
        fp32: Our ONNX file.
        ours: Our TFLite file of it.
        pictures: Of the calibration.
        folder: For what it writes.
    """
    folder.mkdir()
    spec, detector, images = ours.spec, Detector(fp32), [read_image(path) for path in pictures]
    tensors = [detector.preprocess(image)[0].transpose(0, 2, 3, 1).copy() for image in images]
    np.save(folder / "calibration.npy", np.concatenate(tensors))
    samples = [cv2.resize(images[i % len(images)], (128, 128))[:, :, ::-1] / 255 for i in range(20)]
    np.save(folder / ONNX2TF_SAMPLES, np.array(samples, np.float32))
    # values are what the network wants: mean 0, deviation 1
    calibration = ["-cind", detector.runtime.input_name, "calibration.npy", "[[[[0,0,0]]]]", "[[[[1,1,1]]]]"]
    options = ["-i", fp32.absolute(), "-o", "out", "-oiqt", "-qt", "per-channel", "-n"]
    figures = run([program.absolute(), *options, *calibration], folder)
    written = folder / "out" / f"{fp32.stem}_integer_quant.tflite"
    runtime = TfliteRuntime(written)
    image, heads = replace(spec.input, tensor=runtime.input_name), _renamed(spec, ours.runtime, runtime)
    target = folder / "onnx2tf.tflite"
    target.write_bytes(written.read_bytes() + archive(replace(spec, input=image, heads=heads)))
    return Made(target, *figures)


def _renamed(spec: ModelSpec, ours: Runtime, theirs: Runtime) -> tuple[Head, ...]:
    """The heads by the names that outputs of the same shapes have in another file."""
    names = {shape: name for name, shape in theirs.output_shapes.items()}
    if len(names) < len(theirs.output_shapes):
        raise SystemExit("onnx2tf: only heads of different shapes can be told apart")
    return tuple(
        replace(head, tensors={role: names[ours.output_shapes[name]] for role, name in head.tensors.items()})
        for head in spec.heads
    )


def judge(fp32: Path, made: Mapping[str, Made], data: Path) -> dict[str, dict[str, Any]]:
    """What `yolo-edge validate` says of each side, compared with the fp32 file."""
    command = [PROGRAM, "validate", fp32, *(one.file for one in made.values()), "--data", data, "--json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, check=True)  # noqa: S603
    rows = {row["model"]: row for row in json.loads(done.stdout)}
    return {side: rows[str(one.file)] for side, one in made.items()}


def table(format_: str, fp32: Path, made: Mapping[str, Made], data: Path) -> None:
    """Print the rows of one format."""
    judged = judge(fp32, made, data)
    files = {"": fp32, **{side: one.file for side, one in made.items()}}
    samples = interleave({side: _inference(path) for side, path in files.items()}, seconds=15)
    print(f"\n{format_}, {next(iter(judged.values()))['images']} pictures judged")
    print("\n| int8 by | seconds | peak, MB | change of mAP50, points | of mAP50-95 | inference, of fp32's |")
    print("|---|--:|--:|---|---|---|")
    for side, one in made.items():
        changes = [[100 * value for value in judged[side]["difference"][name]] for name in ("mAP50", "mAP50_95")]
        cells = [f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]" for mean, low, high in changes]
        ratio = median_ratio(samples[side], samples[""])
        print(f"| {side} | {one.seconds:.1f} | {one.peak_mb:.0f} | {cells[0]} | {cells[1]} | {ratio} |")


def _inference(path: Path) -> Callable[[], object]:
    detector = Detector(path, threads=1)
    return partial(detector.runtime.run, detector.preprocess(synthetic_picture())[0].copy("K"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="as export takes it")
    parser.add_argument("--calibration", type=Path, required=True, help="a folder of pictures")
    parser.add_argument("--data", type=Path, required=True, help="a labelled dataset, as validate takes it")
    parser.add_argument("--images", type=int, default=32, help="of the calibration")
    parser.add_argument("--onnx2tf", type=Path, metavar="PROGRAM", help="of an environment that has it")
    options = parser.parse_args()
    pictures = sorted(options.calibration.absolute().glob("*.jpg"))[: options.images]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = folder / "pictures"
        chosen.mkdir()
        for picture in pictures:
            (chosen / picture.name).symlink_to(picture)
        run([PROGRAM, "export", options.model, "-o", folder, "--format", "onnx,tflite"])
        (onnx_file,), (tflite_file,) = folder.glob("*.onnx"), folder.glob("*.tflite")
        print(f"{options.model.name}, {len(pictures)} calibration pictures")
        sides = {"yolo-edge export": ours(options.model, chosen, folder, "onnx")}
        table("ONNX", onnx_file, sides | onnx_sides(onnx_file, pictures, folder), options.data)
        sides = {"yolo-edge export": ours(options.model, chosen, folder, "tflite")}
        if options.onnx2tf:
            detector = Detector(tflite_file)
            sides["onnx2tf"] = onnx2tf(options.onnx2tf, onnx_file, detector, pictures, folder / "onnx2tf")
        table("TFLite", tflite_file, sides, options.data)
    sets = [("yolo-edge[export,tflite]",), *dict.fromkeys(needed for _, _, needed in OTHERS.values())]
    sizes = [f"{' and '.join(names)} {installed_mb(*names):.0f} MB" for names in sets if all(map(installed_mb, names))]
    print(f"\ninstalled, with what they need: {'; '.join(sizes)}")


if __name__ == "__main__":
    main()
