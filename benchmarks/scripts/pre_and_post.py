"""Before and after the inference: `Detector` against what programs around OpenCV commonly do.

    python benchmarks/scripts/pre_and_post.py yolo-fastest-1.1-320-fp32.onnx dog.jpg

Both sides in one interleaved run on one thread, from the same picture and the same head maps: `Detector`'s
preprocessing, sparse decode and NMS, against `cv2.dnn.blobFromImage`, a dense numpy decode of every cell and NMS. That
both find the same is checked first. Prints medians and ratios of medians with their 95 % intervals.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from yolo_edge import Detector, ModelSpec
from yolo_edge.ondevice.images import read_image
from yolo_edge.timing import interleave, median_ratio


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an exported .onnx of a darknet [yolo] model that stretches")
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()

    cv2.setNumThreads(1)
    image = read_image(options.image)
    detector = Detector(options.model, threads=1)
    spec = detector.spec
    if any(head.family != "yolo" for head in spec.heads) or spec.input.resize != "stretch":
        parser.error("the dense decode of this script knows [yolo] heads and stretched pictures only")
    tensor, placement = detector.preprocess(image)
    outputs = detector.runtime.run(tensor)
    found = detector.postprocess(outputs, placement)
    common = dense_postprocess(spec, outputs, image.shape[1], image.shape[0], detector.confidence, detector.iou)
    np.testing.assert_allclose(found.xyxy, common[0], atol=0.1)
    np.testing.assert_allclose(np.array(blob(image, spec)), tensor, atol=2.5 / 255)

    samples = interleave(
        {
            "preprocess": lambda: detector.preprocess(image),
            "blobFromImage": lambda: blob(image, spec),
            "postprocess": lambda: detector.postprocess(outputs, placement),
            "dense decode": lambda: dense_postprocess(
                spec, outputs, image.shape[1], image.shape[0], detector.confidence, detector.iou
            ),
        },
        seconds=options.seconds,
    )
    ours = samples["preprocess"] + samples["postprocess"]
    theirs = samples["blobFromImage"] + samples["dense decode"]
    size = f"{image.shape[1]}x{image.shape[0]} to {spec.input.width}x{spec.input.height}"
    print(f"{options.model.name}, {size}, {len(found)} detections, OpenCV {cv2.__version__}, {len(ours)} rounds")
    for name, values in {**samples, "Detector, both": ours, "common, both": theirs}.items():
        print(f"  {name:<16} {np.median(values) * 1e3:7.3f} ms")
    print(f"  Detector as a multiple of common: {median_ratio(ours, theirs)}")


def blob(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """The input tensor as OpenCV's helper makes it."""
    size = (spec.input.width, spec.input.height)
    return np.asarray(cv2.dnn.blobFromImage(image, 1 / 255, size, swapRB=True))


def dense_postprocess(
    spec: ModelSpec, outputs: Mapping[str, np.ndarray], width: int, height: int, confidence: float, iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode every cell, then filter, then NMS class by class: the way of most example programs."""
    parts = []
    for head in spec.heads:
        rows, columns = spec.grid(head)
        maps = outputs[head.tensors["map"]].reshape(len(head.anchors), -1, rows, columns).transpose(0, 2, 3, 1)
        y, x = np.mgrid[:rows, :columns]
        activated = 1 / (1 + np.exp(-maps))
        anchors = np.array(head.anchors, np.float32)[:, None, None]
        stretch = head.scale_xy
        center_x = (activated[..., 0] * stretch - (stretch - 1) / 2 + x) / columns * width
        center_y = (activated[..., 1] * stretch - (stretch - 1) / 2 + y) / rows * height
        sizes = np.exp(maps[..., 2:4]) * anchors / [spec.input.width, spec.input.height] * [width, height]
        scores = activated[..., 4:5] * activated[..., 5:]
        left, top = center_x - sizes[..., 0] / 2, center_y - sizes[..., 1] / 2
        boxes = np.stack([left, top, sizes[..., 0], sizes[..., 1]], axis=-1)
        parts.append((boxes.reshape(-1, 4), scores.reshape(-1, scores.shape[-1])))
    boxes = np.concatenate([part[0] for part in parts])
    scores = np.concatenate([part[1] for part in parts])
    class_id, best = scores.argmax(axis=1), scores.max(axis=1)
    keep = best > confidence
    boxes, class_id, best = boxes[keep], class_id[keep], best[keep]
    kept: list[int] = []
    for number in np.unique(class_id):
        members = np.flatnonzero(class_id == number)
        picked = cv2.dnn.NMSBoxes(boxes[members].tolist(), best[members].tolist(), confidence, iou)
        kept.extend(members[np.asarray(picked, int).reshape(-1)])
    order = sorted(kept, key=lambda i: -best[i])
    corners = np.concatenate([boxes[order, :2], boxes[order, :2] + boxes[order, 2:]], axis=1)
    return np.clip(corners, 0, [width, height, width, height]), best[order], class_id[order]


if __name__ == "__main__":
    main()
