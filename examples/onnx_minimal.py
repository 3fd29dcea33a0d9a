"""Use an exported ONNX file with onnxruntime, numpy and OpenCV alone, without yolo-edge.

    python onnx_minimal.py yolo-fastest-1.1-320-fp32.onnx dog.jpg

The file says how its input is made and how its outputs are read: JSON in metadata_props["yolo_edge.spec"]. This program
reads the files of darknet models: heads of the families "yolo", "yolov5" and "region".
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

CONFIDENCE, IOU = 0.25, 0.45


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def preprocess(image, spec):
    """BGR picture → float32 [1, 3, height, width], and the scale and offset that place it there."""
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
    scale = np.float32([new_w / image.shape[1], new_h / image.shape[0]])
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)[None]), scale, np.float32([left, top])


def decode(raw, head, classes):
    """One head [1, anchors·(5 + classes), rows, columns] → x, y, w, h in input pixels and a score a class."""
    rows, columns = raw.shape[2:]
    maps = raw.reshape(len(head["anchors"]), 5 + classes, rows, columns).transpose(0, 2, 3, 1)
    y, x = np.mgrid[:rows, :columns]
    s = head["scale_xy"]
    center = (sigmoid(maps[..., :2]) * s - (s - 1) / 2 + np.stack([x, y], -1)) * head["stride"]
    growth = (2 * sigmoid(maps[..., 2:4])) ** 2 if head["family"] == "yolov5" else np.exp(maps[..., 2:4])
    size = growth * np.float32(head["anchors"])[:, None, None]
    scores = sigmoid(maps[..., 5:])
    if head["class_activation"] == "softmax":
        scores = np.exp(maps[..., 5:] - maps[..., 5:].max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
    boxes = np.concatenate([center - size / 2, size], -1)
    return boxes.reshape(-1, 4), (sigmoid(maps[..., 4:5]) * scores).reshape(-1, classes)


def main(model, picture):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 files: right on x86 without VNNI
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map["yolo_edge.spec"])
    image = cv2.imread(picture)
    tensor, scale, offset = preprocess(image, spec["input"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {spec["input"]["tensor"]: tensor})))
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
