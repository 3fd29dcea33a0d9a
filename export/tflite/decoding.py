"""Operators of decoders and of attention: reductions along an axis, products of matrices, numbers of classes."""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.tflite.lowering import Lowering, Output
from yolo_edge.ondevice.runtimes.tflite_file import TENSOR_TYPES

_REDUCTIONS = {"ReduceMean": "MEAN", "ReduceMin": "REDUCE_MIN"}


def lower_reduction(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """ReduceMean and ReduceMin that keep the axes → MEAN and REDUCE_MIN."""
    x = ctx.stored(node.inputs[0])
    axes = [x.order.index(axis) for axis in node.attributes.get_ints("axes") or ()]
    tensors = [x.tensor, ctx.integers(f"{node.name}.axes", axes)]
    ctx.add(_REDUCTIONS[node.op_type], tensors, out, x.order, keep_dims=True)


def lower_softmax(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Softmax → SOFTMAX, which goes along the last axis that is stored."""
    order, axis = ctx.stored(node.inputs[0]).order, node.attributes.get_int("axis")
    order = (*(other for other in order if other != axis), axis or 0)
    ctx.add("SOFTMAX", [ctx.arranged(node.inputs[0], order)], out, order, beta=1.0)


def lower_mat_mul(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """MatMul of two computed values → BATCH_MATMUL, in ONNX's order of axes."""
    order = tuple(range(len(out.shape)))
    ctx.add("BATCH_MATMUL", [ctx.arranged(value, order) for value in node.inputs], out, order)


def lower_arg_max(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """ArgMax that keeps the axis → ARG_MAX, which drops it, and a reshape."""
    x = ctx.stored(node.inputs[0])
    place = x.order.index(node.attributes.get_int("axis") or 0)
    axis = ctx.assembly.constant(f"{node.name}.axis", np.int32(place).reshape(()))
    shape = [size for i, size in enumerate(ctx.assembly.shape(x.tensor)) if i != place]
    dtype = "int64"
    found = ctx.assembly.tensor(f"{node.name}.dropped", shape, dtype)
    ctx.assembly.operator("ARG_MAX", [x.tensor, axis], [found], output_type=TENSOR_TYPES[dtype])
    sizes = [out.shape[axis] for axis in x.order]
    ctx.add("RESHAPE", [found, ctx.integers(f"{node.name}.shape", sizes)], out, x.order, new_shape=sizes)


def lower_cast(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Cast of int64 to float32 → CAST."""
    x = ctx.stored(node.inputs[0])
    types = {"in_data_type": TENSOR_TYPES["int64"], "out_data_type": TENSOR_TYPES["float32"]}
    ctx.add("CAST", [x.tensor], out, x.order, **types)
