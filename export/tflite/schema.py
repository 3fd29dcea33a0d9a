"""The parts of TFLite's schemas that files for detectors need; fields stand in the order of their slots.

The model is that of tensorflow/lite/schema/schema.fbs, its metadata that of tflite-support's metadata_schema.fbs.
"""

from yolo_edge.ondevice.flatbuffer import Schema
from yolo_edge.ondevice.runtimes.tflite_file import MODEL_TABLES

METADATA_IDENTIFIER = b"M001"

_ACTIVATION = {"fused_activation_function": "int8"}
_STRIDES = {"padding": "int8", "stride_w": "int32", "stride_h": "int32"}
_DILATION = {"dilation_w_factor": "int32=1", "dilation_h_factor": "int32=1"}

_OPTIONS = {
    "AddOptions": (11, {**_ACTIVATION, "pot_scale_int16": "bool=1"}),
    "ArgMaxOptions": (40, {"output_type": "int8"}),
    "BatchMatMulOptions": (101, {"adj_x": "bool", "adj_y": "bool", "asymmetric_quantize_inputs": "bool"}),
    "CastOptions": (37, {"in_data_type": "int8", "out_data_type": "int8"}),
    "ConcatenationOptions": (10, {"axis": "int32", **_ACTIVATION}),
    "Conv2DOptions": (1, {**_STRIDES, **_ACTIVATION, **_DILATION}),
    "DepthwiseConv2DOptions": (2, {**_STRIDES, "depth_multiplier": "int32", **_ACTIVATION, **_DILATION}),
    "DequantizeOptions": (38, {}),
    "DivOptions": (29, _ACTIVATION),
    "EqualOptions": (53, {}),
    "ExpOptions": (33, {}),
    "FullyConnectedOptions": (8, _ACTIVATION),
    "GreaterEqualOptions": (45, {}),
    "LeakyReluOptions": (75, {"alpha": "float32"}),
    "LogicalAndOptions": (62, {}),
    "MaximumMinimumOptions": (39, {}),
    "MulOptions": (21, _ACTIVATION),
    "NegOptions": (42, {}),
    "PadOptions": (22, {}),
    "PadV2Options": (43, {}),
    "Pool2DOptions": (5, {**_STRIDES, "filter_width": "int32", "filter_height": "int32", **_ACTIVATION}),
    "QuantizeOptions": (89, {}),
    "ReducerOptions": (27, {"keep_dims": "bool"}),
    "ReshapeOptions": (17, {"new_shape": "[int32]"}),
    "ResizeBilinearOptions": (
        15,
        {
            "deprecated_height": "int32",
            "deprecated_width": "int32",
            "align_corners": "bool",
            "half_pixel_centers": "bool",
        },
    ),
    "ReverseV2Options": (81, {}),
    "SelectV2Options": (98, {}),
    "SliceOptions": (48, {}),
    "SoftmaxOptions": (9, {"beta": "float32"}),
    "SpaceToDepthOptions": (19, {"block_size": "int32"}),
    "StridedSliceOptions": (
        32,
        {f"{name}_mask": "int32" for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")},
    ),
    "SubOptions": (28, {**_ACTIVATION, "pot_scale_int16": "bool=1"}),
    "TransposeConvOptions": (49, _STRIDES),
    "TransposeOptions": (26, {}),
}

SCHEMA = Schema(
    {**MODEL_TABLES, **{name: fields for name, (_, fields) in _OPTIONS.items()}},
    {"builtin_options": {name: number for name, (number, _) in _OPTIONS.items()}, "details": {}},
)

METADATA_SCHEMA = Schema(
    {
        "ModelMetadata": {
            "name": "string",
            "description": "string",
            "version": "string",
            "subgraph_metadata": "[SubGraphMetadata]",
            "author": "string",
            "license": "string",
            "associated_files": "[AssociatedFile]",
            "min_parser_version": "string",
        },
        "AssociatedFile": {"name": "string", "description": "string", "type": "int8"},
        "SubGraphMetadata": {
            "name": "string",
            "description": "string",
            "input_tensor_metadata": "[TensorMetadata]",
            "output_tensor_metadata": "[TensorMetadata]",
        },
        "TensorMetadata": {
            "name": "string",
            "description": "string",
            "dimension_names": "[string]",
            "content": "Content",
            "process_units": "[ProcessUnit]",
            "stats": "Stats",
            "associated_files": "[AssociatedFile]",
        },
        "Content": {"content_properties": "union"},
        "FeatureProperties": {},
        "ImageProperties": {"color_space": "int8", "default_size": "ImageSize"},
        "ImageSize": {"width": "uint32", "height": "uint32"},
        "BoundingBoxProperties": {"index": "[uint32]", "type": "int8", "coordinate_type": "int8"},
        "ProcessUnit": {"options": "union"},
        "NormalizationOptions": {"mean": "[float32]", "std": "[float32]"},
        "Stats": {"max": "[float32]", "min": "[float32]"},
    },
    {
        "content_properties": {"FeatureProperties": 1, "ImageProperties": 2, "BoundingBoxProperties": 3},
        "options": {"NormalizationOptions": 1},
    },
)

PADDING = {"SAME": 0, "VALID": 1}
ACTIVATION = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
