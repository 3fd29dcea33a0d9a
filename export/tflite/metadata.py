"""What a TFLite file says about itself: metadata as tflite-support defines them, and a zip behind the model.

The zip (https://www.tensorflow.org/lite/models/convert/metadata) holds the class names and the spec; programs that know
nothing of it do not see it, and any unzip reads it.
"""

import io
import zipfile
from typing import Any

from yolo_edge.export.tflite.flatbuffer import encode
from yolo_edge.export.tflite.schema import METADATA_IDENTIFIER, METADATA_SCHEMA
from yolo_edge.ondevice.runtimes.tflite_file import SPEC_FILE
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

# of the enums of metadata_schema.fbs
_DESCRIPTIONS, _AXIS_LABELS, _VALUE_LABELS = 1, 2, 3
_RGB, _BOUNDARIES, _RATIO = 1, 1, 0
_PARSER = "1.0.0"

_LABELS = {"name": LABELS_FILE, "description": "The class names, one a line."}
_FEATURES: dict[str, Any] = {"content": {"content_properties": ("FeatureProperties", {})}}


def describe(spec: ModelSpec, licence_unknown: str = "not known") -> bytes:
    """The metadata of a file, as a FlatBuffer.

    Args:
        spec: Of the file.
        licence_unknown: What stands for a licence that is not known.
    """
    spec_file = {"name": SPEC_FILE, "description": "How yolo-edge feeds and reads the model.", "type": _DESCRIPTIONS}
    graph = {
        "name": "main",
        "input_tensor_metadata": [_describe_input(spec.input)],
        "output_tensor_metadata": [table for head in spec.heads for table in _describe_head(head)],
    }
    model = {
        "name": spec.provenance.source,
        "description": f"A detector of {len(spec.names)} classes, written by {spec.provenance.tool}",
        "version": "1",
        "subgraph_metadata": [graph],
        "license": spec.provenance.licence or licence_unknown,
        "associated_files": [spec_file],
        "min_parser_version": _PARSER,
    }
    return encode(METADATA_SCHEMA, "ModelMetadata", model, METADATA_IDENTIFIER)


def _describe_input(image: InputSpec) -> dict[str, Any]:
    size = {"width": image.width, "height": image.height}
    properties = {"color_space": _RGB if image.color == "RGB" else 0, "default_size": size}
    bounds = [
        [(pixel - mean) * scale for mean, scale in zip(image.mean, image.scale, strict=True)] for pixel in (0, 255)
    ]
    # mean and std are those of the numbers that integers stand for, as in every quantized file
    integers = "" if image.quantization is None else " int8: scale · (q − zero-point) is (pixel − mean) / std."
    normalization = {"mean": image.mean, "std": [1 / scale for scale in image.scale]}
    return {
        "name": image.tensor,
        "description": f"The picture, {image.color}, {image.resize} to {image.width}x{image.height}.{integers}",
        "content": {"content_properties": ("ImageProperties", properties)},
        "process_units": [{"options": ("NormalizationOptions", normalization)}],
        "stats": {"min": bounds[0], "max": bounds[1]},
    }


def _describe_head(head: Head) -> list[dict[str, Any]]:
    if head.family == "detection_postprocess":
        # the names that object detectors of tflite-support have
        place = {"index": [1, 0, 3, 2], "type": _BOUNDARIES, "coordinate_type": _RATIO}
        box = {"content": {"content_properties": ("BoundingBoxProperties", place)}}
        return [
            {"name": "location", "description": "y1, x1, y2, x2, fractions of the input.", **box},
            {
                "name": "category",
                "description": "Class ids.",
                **_FEATURES,
                "associated_files": [{**_LABELS, "type": _VALUE_LABELS}],
            },
            {"name": "score", "description": "By falling score.", **_FEATURES},
            {"name": "number of detections", "description": "Rows behind it hold nothing.", **_FEATURES},
        ]
    if head.family == "decoded":
        description = "[1, 4 + classes, N]: centre x, y, width, height (fractions of the input), a score a class."
    else:
        description = f"Raw map of a {head.family} head, stride {head.stride}: [1, rows, columns, channels]."
    labels = {"associated_files": [{**_LABELS, "type": _AXIS_LABELS}]}
    return [
        {"name": name, "description": description + _describe_integers(head, name), **_FEATURES, **labels}
        for name in head.tensors.values()
    ]


def _describe_integers(head: Head, name: str) -> str:
    quantization = head.quantization.get(name)
    if quantization is None:
        return ""
    restored = "; then · factor + offset of each channel, which the spec has" if quantization.factor else ""
    return f" int8: scale · (q − zero-point){restored}."


def archive(spec: ModelSpec) -> bytes:
    """The zip that is appended to the model: nothing compressed, as readers on Android want it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, text in ((LABELS_FILE, "\n".join(spec.names) + "\n"), (SPEC_FILE, spec.to_json())):
            file.writestr(zipfile.ZipInfo(name), text.encode())  # without the time of writing
    return stream.getvalue()
