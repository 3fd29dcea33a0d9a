"""Integers of int8 files, and what they stand for: inputs from pixels, float32 maps from outputs."""

from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec, TensorQuantization

# gain and shift of each channel, float32: a number is gain · q + shift
Affine = Tuple[np.ndarray, np.ndarray]

_LOWEST, _HIGHEST = -128, 127


def pixel_table(image: InputSpec) -> np.ndarray:
    """The integer of each pixel value in each channel of an int8 input, int8 [256, 3]; channels in its order.

    Raises:
        ValueError: The input is not quantized.
    """
    if image.quantization is None:
        raise ValueError(f"the input is {image.dtype}, not quantized")
    pixels = np.arange(256, dtype=np.float32)[:, None]
    numbers = (pixels - np.array(image.mean, np.float32)) * np.array(image.scale, np.float32)
    steps = np.rint(numbers / np.float32(image.quantization.scale)) + image.quantization.zero_point
    table: np.ndarray = np.clip(steps, _LOWEST, _HIGHEST).astype(np.int8)
    return table


def affine_of(quantization: TensorQuantization, channels: int) -> Affine:
    """Gain and shift of each channel of a head's tensor."""
    factor = np.array(quantization.factor or (1.0,) * channels, np.float64)
    offset = np.array(quantization.offset or (0.0,) * channels, np.float64)
    gain = factor * quantization.scale
    return gain.astype(np.float32), (offset - gain * quantization.zero_point).astype(np.float32)


def head_affine(head: Head, name: str, array: np.ndarray) -> Optional[Affine]:
    """Gain and shift of each channel of a head's map; None where it holds float32."""
    quantization = head.quantization.get(name)
    if quantization is None or array.dtype.kind == "f":  # the same head of a float network may be put in its place
        return None
    return affine_of(quantization, array.shape[3 if head.layout == "NHWC" else 1])


def may_exceed(integers: np.ndarray, affine: Affine, limit: float) -> np.ndarray:
    """Which integers [.., channels] may stand for numbers above a limit: all that do, and at most one step below them.

    They are compared as they are: no number is made.
    """
    gain, shift = (side.astype(np.float64) for side in affine)
    bounds = np.iinfo(integers.dtype)
    least = np.clip(np.floor((limit - shift) / gain), bounds.min, bounds.max).astype(integers.dtype)
    found: np.ndarray = integers >= least
    return found


def to_floats(spec: ModelSpec, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Outputs of a runtime with every map in float32, of the shape that it has."""
    result = dict(outputs)
    for head in spec.heads:
        for name in head.tensors.values():
            affine = head_affine(head, name, outputs[name])
            if affine is not None:
                gain, shift = (side if head.layout == "NHWC" else side[:, None, None] for side in affine)
                result[name] = outputs[name] * gain + shift
    return result
