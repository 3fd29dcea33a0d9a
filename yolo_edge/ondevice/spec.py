"""`ModelSpec`: everything that surrounds a network, so that a file and a picture are enough to detect.

It travels inside the exported file as JSON, version 1 (ONNX: `metadata_props["yolo_edge.spec"]`; TFLite: the file
`yolo_edge.spec.json` in the zip behind the model); its JSON Schema is `yolo_edge/spec.schema.json`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple, Union

from yolo_edge.ondevice import typed_json
from yolo_edge.ondevice.errors import MissingSpecError, SpecError

SPEC_VERSION = 1
METADATA_KEY = "yolo_edge.spec"
# what `ModelSpec.precision` is in files of ours
PRECISIONS = ("fp32", "fp16", "int8", "int8-weights", "int8x16")

_CHOICES = {
    "layout": ("NCHW", "NHWC"),
    "dtype": ("float32", "uint8", "int8"),
    "color": ("RGB", "BGR"),
    "resize": ("stretch", "letterbox"),
    "pad_position": ("center", "top_left"),
    "interpolation": ("LINEAR", "LINEAR_EXACT"),
}
_MAX_SIDE = 16384
_MAX_NUMBER = 1e6  # beyond any anchor, mean or scale; larger ones overflow float32 further on
_LOWEST, _HIGHEST = -128, 255  # of int8 and uint8


@dataclass(frozen=True)
class TensorQuantization:
    """How the integers q of an input or output stand for numbers: x = scale · (q − zero_point).

    Channel c of a head is factor[c] · x + offset[c]: the integers of a head share one scale, its channels have ranges
    of their own.

    Attributes:
        scale: Of one step.
        zero_point: The q of 0.
        factor: Of each channel of a head; none: 1.
        offset: Of each channel of a head; none: 0.
    """

    scale: float
    zero_point: int
    factor: Tuple[float, ...] = ()
    offset: Tuple[float, ...] = ()


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the input tensor.

    A pixel p (0..255) of channel c enters the network as (p − mean[c]) · scale[c], channels in the order `color`.

    Attributes:
        width: Of the input tensor, in pixels.
        height: Of the input tensor, in pixels.
        tensor: The name of the input tensor.
        layout: "NCHW" or "NHWC"; the batch is 1, the channels are 3.
        dtype: "float32", "uint8" or "int8". With "uint8" the tensor holds the pixels; mean and scale are in the graph.
            With "int8" it holds the integers of `quantization`.
        color: "RGB" or "BGR".
        mean: Per channel, in pixel values.
        scale: Per channel.
        resize: "stretch" (each axis by itself, as darknet does) or "letterbox" (aspect kept, the rest padded).
        pad_value: The pixel value of the padding.
        pad_position: Where letterbox puts the picture: "center" or "top_left".
        interpolation: "LINEAR", or "LINEAR_EXACT": slower, and equal to the bit on ARM and x86.
        quantization: Of "int8": which integers stand for (p − mean[c]) · scale[c].
    """

    width: int
    height: int
    tensor: str = "images"
    layout: str = "NCHW"
    dtype: str = "float32"
    color: str = "RGB"
    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: Tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    resize: str = "stretch"
    pad_value: int = 128
    pad_position: str = "center"
    interpolation: str = "LINEAR"
    quantization: Optional[TensorQuantization] = field(default=None, metadata=typed_json.LATER)

    @property
    def shape(self) -> Tuple[int, int, int, int]:
        """The shape of the input tensor in its own layout."""
        if self.layout == "NCHW":
            return (1, 3, self.height, self.width)
        return (1, self.height, self.width, 3)


@dataclass(frozen=True)
class NmsOptions:
    """The NMS inside a file.

    Attributes:
        confidence: Boxes at or below are left out.
        iou: A box is dropped when it overlaps a better one of its class by more.
        max_detections: Rows of the output.
    """

    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 300


@dataclass(frozen=True)
class Head:
    """One raw head: the tensors that the last convolutions of a scale produce, and how to read them.

    Attributes:
        family: How the tensors are decoded; `yolo_edge.ondevice.decode` has the formulas of each.
        stride: Input pixels a grid cell, in both axes; 1 for files that decode by themselves.
        tensors: Role → name of an output tensor: "map", or those of `maps.MAP_ROLES` and `decode.POSTPROCESS_ROLES`.
        anchors: (width, height) in input pixels, one a box that a cell predicts.
        scale_xy: darknet's `scale_x_y`: how far a centre may reach out of its cell. 1 is not at all.
        class_activation: "sigmoid" (independent classes) or "softmax".
        tree: YOLO9000's word tree: for each class that the tensor holds its parent, -1 for the roots. Classes with the
            same parent stand together and share a softmax.
        tree_map: With a tree: the node of each class name; without it every node is a class.
        nms: Of the families "nms" and "detection_postprocess": what the file does by itself.
        layout: Of raw maps: "NCHW", [1, channels, rows, columns], or "NHWC", [1, rows, columns, channels].
        normalized: Of the family "decoded": boxes are fractions of the input instead of pixels.
        quantization: Name of an output tensor that holds integers → what they stand for. The others hold float32.
        one_to_one: The head was trained to give each object one box (YOLOv10, YOLO26): no NMS is needed, and none is
            done; a cell may give a box for several classes.
    """

    family: str
    stride: int
    tensors: Dict[str, str]
    anchors: Tuple[Tuple[float, float], ...] = ()
    scale_xy: float = 1.0
    class_activation: str = "sigmoid"
    tree: Tuple[int, ...] = ()
    tree_map: Tuple[int, ...] = ()
    nms: Optional[NmsOptions] = None
    layout: str = "NCHW"
    normalized: bool = False
    quantization: Dict[str, TensorQuantization] = field(default_factory=dict, metadata=typed_json.LATER)
    one_to_one: bool = field(default=False, metadata=typed_json.LATER)


@dataclass(frozen=True)
class Provenance:
    """Where a model came from.

    Attributes:
        source: The name of the file that was exported.
        sha256: Of each source file, by its name.
        licence: Of the weights, when known.
        tool: Name and version of the program that wrote the file.
    """

    source: str = ""
    sha256: Dict[str, str] = field(default_factory=dict)
    licence: Optional[str] = None
    tool: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """Input, heads, class names, precision and provenance of a detector.

    Attributes:
        input: The input tensor and how a picture gets into it.
        heads: In the source's order.
        names: Class names by class id.
        names_from: How the names came to be: "file NAME", "coco" or "voc" (asked for), "coco assumed" or
            "voc assumed" (from the number of classes), "tree" (a word tree), "none" (made up from the ids).
        precision: "fp32"; "fp16" or "int8-weights": so are the weights, the arithmetic is float32; "int8" or "int8x16":
            the arithmetic is of integers, with activations of 8 or 16 bits.
        provenance: Where the model came from.
        version: Of this form: 1.
    """

    input: InputSpec
    heads: Tuple[Head, ...]
    names: Tuple[str, ...]
    names_from: str = "none"
    precision: str = "fp32"
    provenance: Provenance = field(default_factory=Provenance)
    version: int = SPEC_VERSION

    def to_json(self) -> str:
        """One line of JSON; equal specs give equal text."""
        return typed_json.dumps(self)

    @classmethod
    def from_json(cls, text: Union[str, bytes], where: str = "spec") -> "ModelSpec":
        """Parse and check a spec.

        Args:
            text: The JSON document.
            where: What it was read from, for error messages.

        Raises:
            SpecError: Not a spec of version 1, or one that contradicts itself.
        """
        spec = typed_json.loads(cls, text, where)
        check_spec(spec, where)
        return spec

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> "ModelSpec":
        """The spec in what an exported file says about itself.

        Args:
            metadata: Of the file: key → text.
            where: The file, for error messages.

        Raises:
            MissingSpecError: There is none.
            SpecError: Not a spec of version 1, or one that contradicts itself.
        """
        if METADATA_KEY not in metadata:
            raise MissingSpecError(f"{where}: carries no {METADATA_KEY}; files that `yolo-edge export` wrote have one")
        return cls.from_json(metadata[METADATA_KEY], f"{where}: spec")

    def grid(self, head: Head) -> Tuple[int, int]:
        """The (rows, columns) of a head's grid."""
        return self.input.height // head.stride, self.input.width // head.stride


def check_spec(spec: ModelSpec, where: str = "spec") -> None:
    """Check what types cannot say.

    Raises:
        SpecError: The message names the key.
    """
    if spec.version != SPEC_VERSION:
        raise SpecError(f"{where}.version: this program reads version {SPEC_VERSION}, got {spec.version}")
    for name, choices in _CHOICES.items():
        value = getattr(spec.input, name)
        if value not in choices:
            raise SpecError(f"{where}.input.{name}: expected {' or '.join(choices)}, got {value!r}")
    for name in ("width", "height"):
        if not 1 <= getattr(spec.input, name) <= _MAX_SIDE:
            raise SpecError(f"{where}.input.{name}: expected 1..{_MAX_SIDE}, got {getattr(spec.input, name)}")
    if not 0 <= spec.input.pad_value <= 255:
        raise SpecError(f"{where}.input.pad_value: expected 0..255, got {spec.input.pad_value}")
    for name in ("mean", "scale"):
        if not all(abs(value) <= _MAX_NUMBER for value in getattr(spec.input, name)):
            raise SpecError(f"{where}.input.{name}: expected numbers up to {_MAX_NUMBER:g}")
    _check_input_quantization(spec.input, f"{where}.input")
    if not spec.heads:
        raise SpecError(f"{where}.heads: a detector has at least one head, got none")
    if not spec.names:
        raise SpecError(f"{where}.names: a detector has at least one class, got none")
    for i, head in enumerate(spec.heads):
        _check_head(spec, head, f"{where}.heads[{i}]")


def _check_input_quantization(image: InputSpec, where: str) -> None:
    if image.dtype == "int8" and image.quantization is None:
        raise SpecError(f"{where}.quantization: an int8 input has one, this one has none")
    if image.dtype != "int8" and image.quantization is not None:
        raise SpecError(f"{where}.quantization: is for int8 inputs, this one is {image.dtype}")
    if image.quantization is None:
        return
    _check_quantization(image.quantization, f"{where}.quantization")
    if image.quantization.factor or image.quantization.offset:
        raise SpecError(f"{where}.quantization: factor and offset are for heads")


def _check_quantization(quantization: TensorQuantization, where: str) -> None:
    if not 0 < quantization.scale <= _MAX_NUMBER:
        raise SpecError(f"{where}.scale: expected a number above 0, up to {_MAX_NUMBER:g}, got {quantization.scale:g}")
    if not _LOWEST <= quantization.zero_point <= _HIGHEST:
        raise SpecError(f"{where}.zero_point: expected {_LOWEST}..{_HIGHEST}, got {quantization.zero_point}")
    # above 0: which of two cells has the higher score can then be seen by the integers
    if not all(0 < value <= _MAX_NUMBER for value in quantization.factor):
        raise SpecError(f"{where}.factor: expected numbers above 0, up to {_MAX_NUMBER:g}")
    if not all(abs(value) <= _MAX_NUMBER for value in quantization.offset):
        raise SpecError(f"{where}.offset: expected numbers up to {_MAX_NUMBER:g}")


def _check_head(spec: ModelSpec, head: Head, where: str) -> None:
    if head.stride < 1 or spec.input.width % head.stride or spec.input.height % head.stride:
        raise SpecError(
            f"{where}.stride: {head.stride} does not divide the input {spec.input.width}x{spec.input.height}"
        )
    if not head.tensors:
        raise SpecError(f"{where}.tensors: a head names at least one tensor, got none")
    if head.layout not in _CHOICES["layout"]:
        raise SpecError(f"{where}.layout: expected {' or '.join(_CHOICES['layout'])}, got {head.layout!r}")
    if head.class_activation not in ("sigmoid", "softmax"):
        raise SpecError(f"{where}.class_activation: expected sigmoid or softmax, got {head.class_activation!r}")
    _check_tree(head, len(spec.names), where)
    for name, quantization in head.quantization.items():
        if name not in head.tensors.values():
            raise SpecError(f"{where}.quantization: {name!r} is no tensor of the head")
        _check_quantization(quantization, f"{where}.quantization.{name}")
    for j, anchor in enumerate(head.anchors):
        if not all(0 < side <= _MAX_NUMBER for side in anchor):
            raise SpecError(f"{where}.anchors[{j}]: expected two sides above 0, up to {_MAX_NUMBER:g}, got {anchor}")
    if head.one_to_one != spec.heads[0].one_to_one:
        raise SpecError(f"{where}.one_to_one: the same for all heads, it is not")
    if not 0 < head.scale_xy <= 100:
        raise SpecError(f"{where}.scale_xy: expected a number above 0, up to 100, got {head.scale_xy:g}")


def _check_tree(head: Head, classes: int, where: str) -> None:
    nodes = len(head.tree)
    for j, parent in enumerate(head.tree):
        # parents come first, so that a walk from the root ends
        if not -1 <= parent < j:
            raise SpecError(f"{where}.tree[{j}]: expected a node before it or -1, got {parent}")
    starts = [j for j in range(nodes) if j == 0 or head.tree[j] != head.tree[j - 1]]
    if len({head.tree[j] for j in starts}) != len(starts):
        raise SpecError(f"{where}.tree: the children of a node stand together, they do not")
    for j, node in enumerate(head.tree_map):
        if not 0 <= node < nodes:
            raise SpecError(f"{where}.tree_map[{j}]: expected 0..{nodes - 1}, got {node}")
    if nodes and classes != (len(head.tree_map) or nodes):
        raise SpecError(f"{where}.tree: gives {len(head.tree_map) or nodes} classes, there are {classes} names")


def replace_input(spec: ModelSpec, **changes: object) -> ModelSpec:
    """The same spec with other preprocessing: `replace_input(spec, resize="letterbox")`.

    Raises:
        SpecError: The changed spec contradicts itself.
    """
    changed = dataclasses.replace(spec, input=dataclasses.replace(spec.input, **changes))  # type: ignore[arg-type]
    check_spec(changed)
    return changed
