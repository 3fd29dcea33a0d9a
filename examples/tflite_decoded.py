"""Use a file of `yolo-edge export --format tflite --head decoded --input uint8` with LiteRT, numpy and OpenCV alone.

    yolo-edge export yolo-fastest-1.1.cfg --format tflite --head decoded --input uint8 -o out
    python tflite_decoded.py out/yolo-fastest-1.1-320-fp32-decoded-uint8.tflite dog.jpg

The output is Ultralytics' layout, [1, 4 + classes, N]: centre x, centre y, width, height as fractions of the input,
then a score a class.
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


def main(model, picture):
    spec = json.loads(zipfile.ZipFile(model).read("yolo_edge.spec.json"))
    if spec["input"]["resize"] != "stretch":
        sys.exit("this program stretches pictures; tflite_minimal.py shows how to letterbox them")
    image = cv2.imread(picture)
    size = (spec["input"]["width"], spec["input"]["height"])
    pixels = cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_BGR2RGB)
    output = Interpreter(model).get_signature_runner("serving_default")(images=pixels[None])["output0"]

    boxes, scores = output[0, :4].T, output[0, 4:].T
    class_id, confidence = scores.argmax(1), scores.max(1)
    boxes = boxes * np.tile([image.shape[1], image.shape[0]], 2)
    corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    apart = corners + np.pad(class_id[:, None] * 1e5, ((0, 0), (0, 3)))  # classes do not suppress each other
    for i in np.array(cv2.dnn.NMSBoxes(apart, confidence, CONFIDENCE, IOU), int).reshape(-1):
        x, y, w, h = corners[i]
        print(f"{spec['names'][class_id[i]]} {confidence[i]:.2f} {x:.0f} {y:.0f} {x + w:.0f} {y + h:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
