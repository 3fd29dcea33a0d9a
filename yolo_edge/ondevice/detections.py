"""`Detections`: the boxes found in one picture."""

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Boxes by falling confidence; the names are those that `supervision` uses.

    Attributes:
        xyxy: float32 [n, 4]: x1, y1, x2, y2 in pixels of the source picture, clipped to it.
        confidence: float32 [n], 0..1.
        class_id: int64 [n].
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray

    def __len__(self) -> int:
        return len(self.confidence)

    def to_dicts(self, names: Sequence[str]) -> List[Dict[str, Any]]:
        """The detections as plain values for JSON.

        Args:
            names: Class names by class id.

        Returns:
            A dict each: class, class_id, confidence (4 decimals), box (2 decimals, pixels).
        """
        return [
            {
                "class": names[int(class_id)],
                "class_id": int(class_id),
                "confidence": round(float(confidence), 4),
                "box": [round(float(side), 2) for side in box],
            }
            for box, confidence, class_id in zip(self.xyxy, self.confidence, self.class_id)
        ]
