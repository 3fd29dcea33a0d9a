"""Use a file of `yolo-edge export --head nms --input uint8` with onnxruntime and OpenCV alone.

    yolo-edge export yolo-fastest-1.1.cfg --head nms --input uint8 -o out
    python onnx_nms.py out/yolo-fastest-1.1-320-fp32-nms-uint8.onnx dog.jpg

The output is [1, max, 6]: x1, y1, x2, y2 in input pixels, confidence, class; best first, then zeros.
"""

import json
import sys

import cv2
import onnxruntime


def main(model, picture):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 files: right on x86 without VNNI
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map["yolo_edge.spec"])
    if spec["input"]["resize"] != "stretch":
        sys.exit("this program stretches pictures; onnx_minimal.py shows how to letterbox them")
    image = cv2.imread(picture)
    width, height = spec["input"]["width"], spec["input"]["height"]
    pixels = cv2.cvtColor(cv2.resize(image, (width, height)), cv2.COLOR_BGR2RGB)
    (output,) = session.run(None, {"images": pixels[None]})
    across, down = image.shape[1] / width, image.shape[0] / height
    for x1, y1, x2, y2, confidence, class_id in output[0]:
        if confidence > 0:
            name = spec["names"][int(class_id)]
            print(f"{name} {confidence:.2f} {x1 * across:.0f} {y1 * down:.0f} {x2 * across:.0f} {y2 * down:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
