"""Use an int8 TFLite file with LiteRT (or tflite-runtime), numpy and OpenCV alone, without yolo-edge.

    python tflite_int8.py yolo-fastest-1.1-320-int8.tflite dog.jpg

The file says what its integers stand for: JSON in the zip behind the model. This program reads the files of darknet
models that stretch pictures: heads of the families "yolo", "yolov5" and "region".
"""

import json
import sys
import zipfile

import cv2
import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

CONFIDENCE, IOU = 0.25, 0.45


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def preprocess(image, spec):
    """BGR picture → int8 [1, height, width, 3]."""
    pixels = cv2.resize(image, (spec["width"], spec["height"]))[:, :, ::-1]  # RGB, as all exported files have it
    numbers = (pixels - np.float32(spec["mean"])) * np.float32(spec["scale"])
    steps = np.rint(numbers / np.float32(spec["quantization"]["scale"])) + spec["quantization"]["zero_point"]
    return np.clip(steps, -128, 127).astype(np.int8)[None]


def restore(integers, quantization):
    """What int8 [1, rows, columns, channels] stands for."""
    numbers = (integers.astype(np.float32) - quantization["zero_point"]) * np.float32(quantization["scale"])
    return numbers * np.float32(quantization["factor"] or 1) + np.float32(quantization["offset"] or 0)


def decode(raw, head, classes):
    """One head [1, rows, columns, anchors·(5 + classes)] → x, y, w, h in input pixels and a score a class."""
    rows, columns = raw.shape[1:3]
    maps = raw.reshape(rows, columns, len(head["anchors"]), 5 + classes)
    y, x = np.mgrid[:rows, :columns]
    s = head["scale_xy"]
    center = (sigmoid(maps[..., :2]) * s - (s - 1) / 2 + np.stack([x, y], -1)[:, :, None]) * head["stride"]
    growth = (2 * sigmoid(maps[..., 2:4])) ** 2 if head["family"] == "yolov5" else np.exp(maps[..., 2:4])
    size = growth * np.float32(head["anchors"])
    scores = sigmoid(maps[..., 5:])
    if head["class_activation"] == "softmax":
        scores = np.exp(maps[..., 5:] - maps[..., 5:].max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
    boxes = np.concatenate([center - size / 2, size], -1)
    return boxes.reshape(-1, 4), (sigmoid(maps[..., 4:5]) * scores).reshape(-1, classes)


def main(model, picture):
    spec = json.loads(zipfile.ZipFile(model).read("yolo_edge.spec.json"))
    run = Interpreter(model).get_signature_runner("serving_default")
    image = cv2.imread(picture)
    scale = np.float32([image.shape[1] / spec["input"]["width"], image.shape[0] / spec["input"]["height"]])
    outputs = run(images=preprocess(image, spec["input"]))
    parts = []
    for head in spec["heads"]:
        name = head["tensors"]["map"]
        parts.append(decode(restore(outputs[name], head["quantization"][name]), head, len(spec["names"])))
    boxes, scores = (np.concatenate(arrays) for arrays in zip(*parts))
    class_id, confidence = scores.argmax(1), scores.max(1)
    apart = boxes + np.pad(class_id[:, None] * 1e5, ((0, 0), (0, 3)))  # classes do not suppress each other
    for i in np.array(cv2.dnn.NMSBoxes(apart, confidence, CONFIDENCE, IOU), int).reshape(-1):
        x1, y1 = boxes[i, :2] * scale
        x2, y2 = (boxes[i, :2] + boxes[i, 2:]) * scale
        print(f"{spec['names'][class_id[i]]} {confidence[i]:.2f} {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
