"""The class names of COCO and VOC, spelt as darknet's `coco.names` and `voc.names`."""

from typing import Dict, Tuple

COCO: Tuple[str, ...] = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa",
    "pottedplant", "bed", "diningtable", "toilet", "tvmonitor", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

VOC: Tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

NAMES: Dict[str, Tuple[str, ...]] = {"coco": COCO, "voc": VOC}


def assumed_names(classes: int) -> Tuple[Tuple[str, ...], str]:
    """Names for a model that brought none.

    Returns:
        The names and how they came to be, as `ModelSpec.names_from` says it.
    """
    for key, names in NAMES.items():
        if len(names) == classes:
            return names, f"{key} assumed"
    return tuple(f"class_{i}" for i in range(classes)), "none"
