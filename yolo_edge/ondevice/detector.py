"""`Detector`: picture in, `Detections` out."""

import threading
from typing import Mapping, Optional, Tuple, Union

import numpy as np

from yolo_edge.ondevice.decode import SUPPRESSED, check_heads, decode
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.errors import InputError, SpecError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.nms import nms
from yolo_edge.ondevice.preprocess import Placement, Preprocessor
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.spec import ModelSpec, check_spec


class Detector:
    """A model file that finds objects in pictures: preprocess → runtime → decode → NMS.

    Buffers are kept between calls, so calls from several threads wait for each other.

    Examples:
        >>> detector = Detector("yolo-fastest-1.1-320-fp32.onnx")
        >>> for x1, y1, x2, y2 in detector(cv2.imread("dog.jpg")).xyxy: ...

    Attributes:
        spec: The model's spec.
        runtime: What runs it.
        confidence: Detections at or below this are left out; may be changed between calls.
        iou: NMS drops a box that overlaps a better one by more than this; files with NMS inside keep to their own.
        max_detections: At most so many a picture.
        agnostic: NMS lets boxes of different classes suppress each other.
    """

    def __init__(
        self,
        model: Union[PathLike, bytes],
        spec: Optional[ModelSpec] = None,
        *,
        confidence: float = 0.25,
        iou: float = 0.45,
        max_detections: int = 300,
        agnostic: bool = False,
        threads: Optional[int] = None,
        runtime: str = "auto",
        fast: bool = False,
    ):
        """Load `model`.

        Args:
            model: A path to a model file, or the bytes of one.
            spec: Used instead of the one inside the file.
            confidence: 0..1.
            iou: 0..1.
            max_detections: 1 or more.
            agnostic: NMS across classes.
            threads: For one inference; None leaves it to the runtime.
            runtime: "onnxruntime", "openvino", "opencv" or "tflite"; "auto": onnxruntime for .onnx, tflite for .tflite.
            fast: The runtime's fastest kernels, also where they are not exact: int8 sums that saturate in onnxruntime,
                on x86-64 without VNNI; floats of 16 bits in OpenVINO, where the CPU has them.

        Raises:
            InputError: The file cannot be loaded, or an option is out of its range.
            SpecError: There is no spec, or it does not fit the file.
        """
        check_options(confidence, iou, max_detections)
        self.confidence, self.iou = confidence, iou
        self.max_detections, self.agnostic = max_detections, agnostic
        self.runtime = open_runtime(model, runtime, threads, fast)
        where = "model" if isinstance(model, bytes) else str(model)
        self.spec = spec or ModelSpec.from_metadata(self.runtime.metadata, where)
        check_spec(self.spec, f"{where}: spec")
        _check_input(self.spec, self.runtime, where)
        check_heads(self.spec, self.runtime.output_shapes, f"{where}: spec", self.runtime.output_dtypes)
        self._preprocessor = Preprocessor(self.spec.input, self.runtime.channels_last)
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> Detections:
        """Find objects.

        Args:
            image: BGR as OpenCV reads it, uint8 [height, width, 3].

        Raises:
            ValueError: Not such a picture.
        """
        with self._lock:
            tensor, placement = self.preprocess(image)
            outputs = self.runtime.run(tensor)
        return self.postprocess(outputs, placement)

    def preprocess(self, image: np.ndarray) -> Tuple[np.ndarray, Placement]:
        """The input tensor (valid until the next call) and where the picture lies in it.

        Args:
            image: BGR as OpenCV reads it, uint8 [height, width, 3].

        Returns:
            Of the dtype and shape of `spec.input`: [1, 3, height, width] or [1, height, width, 3].
            What leads boxes back into the picture.

        Raises:
            ValueError: Not such a picture.
        """
        return self._preprocessor(image)

    def postprocess(self, outputs: Mapping[str, np.ndarray], placement: Placement) -> Detections:
        """Outputs of the runtime → detections in the picture.

        Args:
            outputs: Of `runtime.run`: name of an output tensor → its array.
            placement: Of `preprocess`.
        """
        boxes, confidence, class_id = decode(self.spec, outputs, self.confidence)
        kept = select(self.spec, boxes, confidence, class_id, self.iou, self.max_detections, self.agnostic)
        return Detections(placement.to_source(boxes[kept]), confidence[kept], class_id[kept])


def select(
    spec: ModelSpec,
    boxes: np.ndarray,
    confidence: np.ndarray,
    class_id: np.ndarray,
    iou: float,
    max_detections: int,
    agnostic: bool = False,
) -> np.ndarray:
    """Indices of the boxes to keep, by falling confidence: what `nms` leaves, or the best where none is due.

    Files with NMS inside have done it by their own settings; one-to-one heads need none.

    Args:
        spec: Of what the boxes were decoded from.
        boxes: xyxy float32 [n, 4].
        confidence: float32 [n].
        class_id: int64 [n].
        iou: As of `nms`.
        max_detections: Keep at most so many.
        agnostic: As of `nms`.
    """
    if spec.heads[0].family in SUPPRESSED or spec.heads[0].one_to_one:
        return np.argsort(-confidence, kind="stable")[:max_detections]
    return nms(boxes, confidence, class_id, iou, max_detections, agnostic)


def check_options(confidence: float, iou: float, max_detections: int) -> None:
    """Check the options of a detector.

    Raises:
        InputError: One is out of its range.
    """
    for name, value in (("confidence", confidence), ("iou", iou)):
        if not 0 <= value <= 1:
            raise InputError(f"{name}: expected 0..1, got {value}")
    if max_detections < 1:
        raise InputError(f"max_detections: expected 1 or more, got {max_detections}")


def _check_input(spec: ModelSpec, runtime: Runtime, where: str) -> None:
    found = (runtime.input_name, runtime.input_dtype, list(runtime.input_shape))
    expected = (spec.input.tensor, spec.input.dtype, list(spec.input.shape))
    if found != expected:
        texts = [" ".join(map(str, item)) for item in (expected, found)]
        raise SpecError(f"{where}: spec.input: expected {texts[0]}, the model has {texts[1]}")
