"""ONNX files through OpenCV's own network module, cv2.dnn, on the CPU: nothing else is needed to run them.

Two things that it computes otherwise than the file says are refused when a file is loaded: integers, whose products it
rounds in its own way (9 to 37 dB from what the file says, with OpenCV 4.14 and 5.0), and, in OpenCV 4, depthwise
convolutions of maps of one pixel.
"""

import os
import re
from typing import Any, Dict, Optional, Union

import cv2
import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, first_line
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.runtimes.onnx_file import Signature, describe, read_detector

_INTEGERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"})
_PLACES = re.compile(r"OpenCV\(\S+\) \S+ error: \([^)]*\) ")
_MAJOR = int(cv2.__version__.split(".", maxsplit=1)[0])


class OpencvRuntime(Runtime):
    """An ONNX file loaded into cv2.dnn."""

    name = "opencv"
    version = cv2.__version__

    def __init__(self, model: Union[PathLike, bytes], threads: Optional[int] = None):
        """Load `model`, a path or the bytes of a file.

        Args:
            model: What to load.
            threads: OpenCV has one number of threads for all that a process does with it, resizing pictures among it:
                it is set to this. None: it stays.

        Raises:
            InputError: OpenCV does not load the model, computes it wrongly, or that has not a single input.
        """
        self._where = "model" if isinstance(model, bytes) else os.fspath(model)
        data, signature = read_detector(model)
        if _INTEGERS & signature.operators:
            raise InputError(
                f"{self._where}: OpenCV computes int8 otherwise than the file says; run it with onnxruntime or "
                "openvino, or export it in fp32 or fp16"
            )
        self.threads = threads
        describe(self, signature)
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            if self._net.empty():
                raise InputError(f"{self._where}: OpenCV finds no network in it")
            if _MAJOR < 5:
                self._check_depthwise(signature)
        except Exception as error:  # cv2.error, and SystemError from its bindings
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self._where}: OpenCV {cv2.__version__} does not load it ({_complaint(error)}); "
                "onnxruntime and openvino may"
            ) from error

    def run(self, tensor: np.ndarray) -> Dict[str, np.ndarray]:
        """One inference: the input tensor → output name → array.

        Raises:
            InputError: OpenCV refuses to run the model.
        """
        if self.threads and cv2.getNumThreads() != self.threads:  # others may have set it meanwhile
            cv2.setNumThreads(self.threads)
        names = list(self.output_shapes)
        try:
            self._net.setInput(tensor)
            found = dict(zip(names, self._net.forward(names)))
        except Exception as error:
            raise InputError(
                f"{self._where}: OpenCV {cv2.__version__} does not run it ({_complaint(error)})"
            ) from error
        for name, array in found.items():
            if array.shape != self.output_shapes[name] and -1 not in self.output_shapes[name]:
                raise InputError(
                    f"{self._where}: OpenCV {cv2.__version__} gives output {name!r} as {list(array.shape)}, the file "
                    f"says {list(self.output_shapes[name])}; onnxruntime and openvino may run it"
                )
        return found

    def _check_depthwise(self, signature: Signature) -> None:
        shape = signature.inputs[0].shape
        if min(shape, default=-1) < 1:
            return
        layers, inputs, _ = self._net.getLayersShapes(shape)
        for number, shapes in zip(np.asarray(layers).reshape(-1), inputs):
            layer: Any = self._net.getLayer(int(number))
            if layer.type != "Convolution" or not layer.blobs or not len(shapes):
                continue
            weights, picture = layer.blobs[0].shape, np.asarray(shapes[0]).reshape(-1)
            if weights[1] == 1 < picture[1] and tuple(picture[2:]) == (1, 1) and max(weights[2:]) > 1:
                raise InputError(
                    f"{self._where}: OpenCV {cv2.__version__} computes depthwise convolutions of maps of one pixel "
                    f"wrongly ({layer.name}); export it for a larger input, or run it with onnxruntime or openvino"
                )


def _complaint(error: Exception) -> str:
    """What OpenCV says, without the places in its source."""
    text = " ".join((str(getattr(error, "err", "")) or str(error)).split())
    return first_line(ValueError(_PLACES.sub("", text).strip("> ")))
