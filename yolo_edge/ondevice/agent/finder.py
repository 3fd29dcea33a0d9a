"""One loaded detector, and the pictures that are sent to it."""

import time
from typing import Any, Dict

import numpy as np

from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.spec import ModelSpec


class Finder:
    """Finds objects in pictures: prepared, run and decoded on this machine.

    Attributes:
        runtime: The name of what runs the model.
    """

    def __init__(self, model: str, *, spec: str, options: Dict[str, Any]):
        """Load a model.

        Args:
            model: The path of a model file.
            spec: The JSON of its spec.
            options: Of `Detector`.

        Raises:
            InputError: The model or an option cannot be used.
        """
        self._detector = Detector(model, ModelSpec.from_json(spec, f"{model}: spec"), **options)
        self.runtime = self._detector.runtime.name

    def find(self, image: np.ndarray) -> Dict[str, Any]:
        """Find objects in one picture, BGR uint8 [height, width, 3].

        Returns:
            `xyxy`, `confidence`, `class_id` as in `Detections`, in lists; `inference_ms` of the inference alone.
        """
        detector = self._detector
        tensor, placement = detector.preprocess(image)
        start = time.perf_counter()
        outputs = detector.runtime.run(tensor)
        milliseconds = 1e3 * (time.perf_counter() - start)
        found = detector.postprocess(outputs, placement)
        return {
            "xyxy": found.xyxy.tolist(),
            "confidence": found.confidence.tolist(),
            "class_id": found.class_id.tolist(),
            "inference_ms": milliseconds,
        }
