"""Judge the sample model: mAP on unseen scenes, false alarms, and recall on photographs that it never saw.

    python tools/judge_sample.py yolo_edge/sample/codes.cfg --work build/judge --photographs ../shared/assets/codes

The photographs are folders of pictures with one code each, named by what it is (qrcode…; anything else is bars). A
detection counts when it overlaps what OpenCV's own detector finds, or, where that finds nothing, when there is one of
the right class. They are for judging; nothing in training looks at them.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from yolo_edge import Detector
from yolo_edge.evaluation.boxes import iou
from yolo_edge.sample import BARCODE, CLASSES, NAMES, QR_CODE
from yolo_edge.sample.scenes import Part, scene, write_dataset

_JUDGING = 2  # seed of scenes that no training sees
_CALIBRATION = 4
_SCENES, _EMPTY = 500, 200
_PROGRAM = Path(sys.executable).with_name("yolo-edge")


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photographs", type=Path)
    options = parser.parse_args()
    data = options.work / "scenes"
    if not (data / "data.yaml").exists():
        for _ in write_dataset(
            data, {"val": (Part(_JUDGING, _SCENES),), "calibration": (Part(_CALIBRATION, 64),)}, workers=2
        ):
            pass
    files = _export(options.model, options.work / "out", data / "images" / "calibration")
    command = [_PROGRAM, "validate", *files, "--data", data / "data.yaml", "--json"]
    figures: dict[str, object] = {"scenes": json.loads(subprocess.run(command, check=True, capture_output=True).stdout)}
    detector = Detector(files[0])
    alarms = sum(len(detector(scene(_JUDGING, number, codes=False).image)) > 0 for number in range(_EMPTY))
    figures["false alarms"] = {"pictures without codes": _EMPTY, "with a detection": alarms}
    if options.photographs:
        figures["recall"] = {
            folder.name: _recall(detector, folder)
            for folder in sorted(options.photographs.iterdir())
            if folder.is_dir()
        }
    print(json.dumps(figures, indent=1))


def _export(model: Path, folder: Path, calibration: Path) -> list[Path]:
    """fp32 and int8 in both formats."""
    what = ["--format", "onnx,tflite", "--precision", "fp32,int8", "--calibration", calibration]
    command = [_PROGRAM, "export", model, "-o", folder, *what, "--names", NAMES, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Path(row["path"]) for row in json.loads(done)]


def _recall(detector: Detector, folder: Path) -> dict[str, object]:
    wanted = QR_CODE if folder.name.startswith("qr") else BARCODE
    missed, found = [], 0
    for file in sorted(folder.iterdir()):
        picture = cv2.imread(str(file))
        if picture is None:
            continue
        detections = detector(picture)
        boxes = detections.xyxy[detections.class_id == wanted]
        truth = _opencv(picture, wanted)
        hit = len(boxes) > 0 if truth is None else bool((iou(boxes, truth[None]) > 0.3).any())
        found += hit
        if not hit:
            missed.append(file.name)
    pictures = found + len(missed)
    return {"class": CLASSES[wanted], "pictures": pictures, "recall": round(found / pictures, 3), "missed": missed}


def _opencv(picture: np.ndarray, wanted: int) -> np.ndarray | None:
    """x1, y1, x2, y2 of the code that OpenCV finds, if it does."""
    detector = cv2.QRCodeDetector() if wanted == QR_CODE else cv2.barcode.BarcodeDetector()
    try:
        found, corners = detector.detect(picture)
    except cv2.error:  # of odd quadrangles
        return None
    if not found or corners is None:
        return None
    points = np.asarray(corners, np.float32).reshape(-1, 4, 2)[0]
    return np.concatenate([points.min(0), points.max(0)])


if __name__ == "__main__":
    main()
