"""Use an exported TFLite file with LiteRT (or tflite-runtime), numpy and OpenCV alone, without yolo-edge.

    python tflite_minimal.py yolo-fastest-1.1-320-fp32.tflite dog.jpg

The file says how its input is made and how its outputs are read: JSON in the zip behind the model. This program reads
the files of darknet models: heads of the families "yolo", "yolov5" and "region".
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
    """BGR picture → float32 [1, height, width, 3], and the scale and offset that place it there."""
    width, height = spec["width"], spec["height"]
    new_w, new_h = width, height
    if spec["resize"] == "letterbox":
        ratio = min(width / image.shape[1], height / image.shape[0])
        new_w, new_h = max(round(image.shape[1] * ratio), 1), max(round(image.shape[0] * ratio), 1)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    canvas = np.full((height, width, 3), spec["pad_value"], np.uint8)
    canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
    pixels = canvas[:, :, ::-1] if spec["color"] == "RGB" else canvas
    tensor = (pixels - np.float32(spec["mean"])) * np.float32(spec["scale"])
    return tensor[None], np.float32([new_w / image.shape[1], new_h / image.shape[0]]), np.float32([left, top])


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
    tensor, scale, offset = preprocess(image, spec["input"])
    outputs = run(images=tensor)
    parts = [decode(outputs[head["tensors"]["map"]], head, len(spec["names"])) for head in spec["heads"]]
    boxes, scores = (np.concatenate(arrays) for arrays in zip(*parts))
    class_id, confidence = scores.argmax(1), scores.max(1)
    apart = boxes + np.pad(class_id[:, None] * 1e5, ((0, 0), (0, 3)))  # classes do not suppress each other
    for i in np.array(cv2.dnn.NMSBoxes(apart, confidence, CONFIDENCE, IOU), int).reshape(-1):
        x1, y1 = (boxes[i, :2] - offset) / scale
        x2, y2 = (boxes[i, :2] + boxes[i, 2:] - offset) / scale
        print(f"{spec['names'][class_id[i]]} {confidence[i]:.2f} {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
