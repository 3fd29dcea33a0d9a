"""The table of foreign operators: name → function that makes canonical nodes of it. What is not in it is refused.

What a function gets has static shapes and no shape arithmetic left; what does not fit is refused by name.
"""

from yolo_edge.export.importers.onnx import arithmetic, rearranging, windows
from yolo_edge.export.importers.onnx.emit import Convert

OPERATORS: dict[str, Convert] = {
    "Add": arithmetic.binary,
    "AveragePool": windows.average_pool,
    "BatchNormalization": arithmetic.batch_normalization,
    "Clip": arithmetic.clip,
    "Concat": rearranging.concat,
    "Conv": windows.convolution,
    "ConvTranspose": windows.conv_transpose,
    "Div": arithmetic.binary,
    "Flatten": rearranging.reshape,
    "Gather": rearranging.gather,
    "GlobalAveragePool": arithmetic.unary("GlobalAveragePool"),
    "HardSigmoid": arithmetic.hard_sigmoid,
    "HardSwish": arithmetic.unary("HardSwish"),
    "LeakyRelu": arithmetic.leaky_relu,
    "MatMul": arithmetic.matmul,
    "MaxPool": windows.max_pool,
    "Mish": arithmetic.unary("Mish"),
    "Mul": arithmetic.binary,
    "PRelu": arithmetic.prelu,
    "Pad": windows.pad,
    "ReduceMean": arithmetic.reduce_mean,
    "Relu": arithmetic.unary("Relu"),
    "Reshape": rearranging.reshape,
    "Resize": rearranging.resize,
    "Sigmoid": arithmetic.unary("Sigmoid"),
    "Slice": rearranging.slicing,
    "Softmax": arithmetic.softmax,
    "Split": rearranging.split,
    "Softplus": arithmetic.unary("Softplus"),
    "Squeeze": rearranging.reshape,
    "Sub": arithmetic.binary,
    "Sum": arithmetic.total,
    "Tanh": arithmetic.unary("Tanh"),
    "Transpose": rearranging.transpose,
    "Unsqueeze": rearranging.reshape,
}
