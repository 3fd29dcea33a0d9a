"""Use a file of `yolo-edge export --head decoded --input uint8` with onnxruntime, numpy and OpenCV alone.

    yolo-edge export yolo-fastest-1.1.cfg --head decoded --input uint8 -o out
    python onnx_decoded.py out/yolo-fastest-1.1-320-fp32-decoded-uint8.onnx dog.jpg

The output is Ultralytics' layout, [1, 4 + classes, N]: centre x, centre y, width, height in input pixels, scores.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

CONFIDENCE, IOU = 0.25, 0.45


def main(model, picture):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 files: right on x86 without VNNI
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map["yolo_edge.spec"])
    if spec["input"]["resize"] != "stretch":
        sys.exit("this program stretches pictures; onnx_minimal.py shows how to letterbox them")
    image = cv2.imread(picture)
    size = (spec["input"]["width"], spec["input"]["height"])
    pixels = cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_BGR2RGB)
    (output,) = session.run(None, {"images": pixels[None]})

    boxes, scores = output[0, :4].T, output[0, 4:].T
    class_id, confidence = scores.argmax(1), scores.max(1)
    boxes = boxes * np.tile([image.shape[1] / size[0], image.shape[0] / size[1]], 2)
    corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    apart = corners + np.pad(class_id[:, None] * 1e5, ((0, 0), (0, 3)))  # classes do not suppress each other
    for i in np.array(cv2.dnn.NMSBoxes(apart, confidence, CONFIDENCE, IOU), int).reshape(-1):
        x, y, w, h = corners[i]
        print(f"{spec['names'][class_id[i]]} {confidence[i]:.2f} {x:.0f} {y:.0f} {x + w:.0f} {y + h:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
