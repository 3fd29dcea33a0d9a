"""What int8 costs in accuracy, recipe by recipe, as mean and spread over calibration seeds.

    .venv-dev/bin/python benchmarks/scripts/int8.py MODEL... --calibration coco128/images/train2017
        --data coco128.yaml --data coco-mini/instances.json [--seeds 5] [--chosen] [--output FILE.jsonl]

Drops are fp32 less int8, in points of mAP on all pictures of `--data` together; agreement is AP50 with the fp32
detections above 0.25 as labels. Models whose classes are not the dataset's get the agreement alone. `chosen` is what
`yolo-edge export` takes; the ratio of its time to fp32's is measured in interleaved runs on one thread, with
`session.x64quantprecision` and without.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from yolo_edge.cli.options import anchors as parse_anchors
from yolo_edge.datasets import Dataset, match_classes, read_dataset
from yolo_edge.datasets.search import search
from yolo_edge.evaluation import LABEL_CONFIDENCE, MAX_DETECTIONS, Found, Truth, average_precision_50, evaluate
from yolo_edge.evaluation.run import gather
from yolo_edge.export.fusion import count_fused
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.quantization.apply import apply_plan
from yolo_edge.export.quantization.choose import quantize
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.pictures import Pictures
from yolo_edge.export.source import canonicalize
from yolo_edge.export.tflite import write_tflite
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.pictures import find_images
from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime
from yolo_edge.timing import interleave, median_ratio

CHOSEN, CHOSEN_TFLITE = "chosen", "chosen, TFLite"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help=".cfg or .onnx, as export takes them")
    parser.add_argument("--calibration", required=True, help="a folder of pictures")
    parser.add_argument("--data", required=True, action="append", type=Path, help="pictures to judge with")
    parser.add_argument("--anchors", type=parse_anchors, default=(), help="of an .onnx that does not hold them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--chosen", action="store_true", help="judge what is chosen, not every recipe")
    parser.add_argument("--output", type=Path, help="a line of JSON for each seed is appended to it")
    options = parser.parse_args()
    paths = find_images([options.calibration])
    datasets = [read_dataset(path) for path in options.data]
    for model in options.models:
        measure(model, paths, datasets, options)


def measure(model: Path, paths: Sequence[Path], datasets: Sequence[Dataset], options: argparse.Namespace) -> None:
    """One model, all seeds."""
    source = load_model(model, anchors=options.anchors)
    graph, spec = canonicalize(source.graph), source.spec
    baseline = write_onnx(graph, spec)
    truth, found = _judge(baseline, datasets)
    reference = _scores(truth, found)
    labels = found.select(found.confidence > LABEL_CONFIDENCE)
    print(f"{source.stem}, {found.images} pictures, fp32: {_points(reference)}", flush=True)
    rows: dict[str, list[list[float]]] = {}
    ratios: dict[str, list[float]] = {}
    fused = set()
    for seed in range(options.seeds):
        made = quantize(graph, spec, Pictures.choose(paths, options.count, seed), seed=seed)
        chosen = made.network.plan.recipe
        files = {
            CHOSEN: write_onnx(made.network, spec, "int8"),
            CHOSEN_TFLITE: write_tflite(made.network, spec, "int8"),
        }
        for trial in () if options.chosen else made.trials:
            network = apply_plan(expand_activations(graph), trial.plan)
            files[trial.recipe] = files[CHOSEN] if trial.recipe == chosen else write_onnx(network, spec, "int8")
        record: dict[str, Any] = {"model": source.stem, "seed": seed, "recipe": chosen, "held_back": {}}
        record["held_back"] = {trial.recipe: trial.agreement for trial in made.trials}
        done: dict[int, list[float]] = {}
        for name, data in files.items():
            if id(data) not in done:
                _, other = _judge(data, datasets)
                agreement = average_precision_50(labels, other)
                drops = [a - b for a, b in zip(reference, _scores(truth, other), strict=True)]
                done[id(data)] = [*drops, np.nan if agreement is None else agreement]
            rows.setdefault(name, []).append(done[id(data)])
            record[name] = done[id(data)]
        fused.add(count_fused(files[CHOSEN]))
        for name, value in _times(baseline, files[CHOSEN]).items():
            ratios.setdefault(name, []).append(value)
        record["time"] = {name: values[-1] for name, values in ratios.items()}
        record["fused"] = sorted(fused)
        print(f"  seed {seed}: {json.dumps(record)}", flush=True)
        if options.output:
            with options.output.open("a") as file:
                file.write(json.dumps(record) + "\n")
    for name, values in rows.items():
        print(f"  {name:36} {_summary(np.array(values))}")
    for name, times in ratios.items():
        print(f"  time of fp32 = 1, {name}: {np.median(times):.3f} ({min(times):.3f} to {max(times):.3f})")
    print(f"  fused in onnxruntime: {', '.join(f'{a}/{b}' for b, a in sorted(fused))}", flush=True)


def _judge(data: bytes, datasets: Sequence[Dataset]) -> tuple[Truth | None, Found]:
    """The labels of all datasets, in the model's classes, and what the model finds."""
    detector = Detector(data, confidence=0.001, iou=0.6, max_detections=MAX_DETECTIONS)
    truths, founds = [], []
    for dataset in datasets:
        founds.append(gather(search([detector], dataset.paths), dataset, 1).found[0])
        try:
            match = match_classes(detector.spec.names, dataset.names)
        except InputError:
            continue
        if not match.only_dataset and not match.only_model:
            truths.append((Truth.of_dataset(dataset), match.to_dataset))
    images = sum(found.images for found in founds)
    starts = np.cumsum([0, *(found.images for found in founds)])
    found = Found(
        images,
        np.concatenate([part.image + start for part, start in zip(founds, starts, strict=False)]),
        *(np.concatenate([getattr(part, name) for part in founds]) for name in ("class_id", "xyxy", "confidence")),
    )
    if len(truths) < len(datasets):
        return None, found
    classes = len(detector.spec.names)
    to_model = [np.argsort(match) for _, match in truths]
    truth = Truth(
        images=images,
        classes=classes,
        image=np.concatenate([part.image + start for (part, _), start in zip(truths, starts, strict=False)]),
        class_id=np.concatenate([back[part.class_id] for (part, _), back in zip(truths, to_model, strict=True)]),
        **{
            name: np.concatenate([getattr(part, name) for part, _ in truths])
            for name in ("xyxy", "area", "crowd", "ignored")
        },
    )
    return truth, found


def _scores(truth: Truth | None, found: Found) -> list[float]:
    """mAP50 and mAP50-95 in points."""
    if truth is None:
        return [np.nan, np.nan]
    accuracy = evaluate(truth, found)
    return [100 * (accuracy.value(metric) or 0.0) for metric in ("mAP50", "mAP50_95")]


def _times(baseline: bytes, data: bytes) -> dict[str, float]:
    """The time of a file as a multiple of fp32's, with and without the precise kernels of x86."""
    runtimes = {
        "fp32": OnnxRuntime(baseline, 1),
        "precision on": OnnxRuntime(data, 1, precise=True),
        "precision off": OnnxRuntime(data, 1, precise=False),
    }
    tensor = np.random.default_rng(0).random(runtimes["fp32"].input_shape, np.float32)
    samples = interleave({name: partial(runtime.run, tensor) for name, runtime in runtimes.items()}, seconds=3)
    return {name: median_ratio(samples[name], samples["fp32"]).value for name in runtimes if name != "fp32"}


def _points(scores: Sequence[float]) -> str:
    return "no labels of its classes" if np.isnan(scores[0]) else f"mAP50 {scores[0]:.2f}, mAP50-95 {scores[1]:.2f}"


def _summary(values: np.ndarray) -> str:
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(3)
    drops = f"drop {mean[0]:5.2f} ± {spread[0]:.2f} / {mean[1]:5.2f} ± {spread[1]:.2f}  " if mean[0] == mean[0] else ""
    return f"{drops}agreement {mean[2]:.3f} ± {spread[2]:.3f}"


if __name__ == "__main__":
    main()
