"""Use a file of `yolo-edge export --format tflite --head nms --input uint8` with LiteRT and OpenCV alone.

    yolo-edge export yolo-fastest-1.1.cfg --format tflite --head nms --input uint8 -o out
    python tflite_nms.py out/yolo-fastest-1.1-320-fp32-nms-uint8.tflite dog.jpg

The outputs are those of TFLite_Detection_PostProcess: boxes [1, max, 4] as y1, x1, y2, x2 in fractions of the input,
classes and scores [1, max], and how many rows there are: what lies behind them means nothing.
"""

import json
import sys
import zipfile

import cv2

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter


def main(model, picture):
    spec = json.loads(zipfile.ZipFile(model).read("yolo_edge.spec.json"))
    if spec["input"]["resize"] != "stretch":
        sys.exit("this program stretches pictures; tflite_minimal.py shows how to letterbox them")
    image = cv2.imread(picture)
    pixels = cv2.cvtColor(cv2.resize(image, (spec["input"]["width"], spec["input"]["height"])), cv2.COLOR_BGR2RGB)
    found = Interpreter(model).get_signature_runner("serving_default")(images=pixels[None])
    down, across = image.shape[:2]
    for i in range(int(found["num_detections"][0])):
        y1, x1, y2, x2 = found["detection_boxes"][0, i]
        name = spec["names"][int(found["detection_classes"][0, i])]
        score = found["detection_scores"][0, i]
        print(f"{name} {score:.2f} {x1 * across:.0f} {y1 * down:.0f} {x2 * across:.0f} {y2 * down:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
