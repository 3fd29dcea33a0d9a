"""The table of darknet's layers: section → function. What is not in it is refused."""

from collections.abc import Callable

import onnx_ir as ir

from yolo_edge.export.importers.darknet import convolutions, joins, pooling
from yolo_edge.export.importers.darknet.building import Network
from yolo_edge.export.importers.darknet.cfg import Section

LAYERS: dict[str, Callable[[Network, Section], ir.Value]] = {
    "avgpool": pooling.avgpool,
    "batchnorm": convolutions.batchnorm,
    "convolutional": convolutions.convolutional,
    "dropout": joins.dropout,
    "local_avgpool": pooling.local_avgpool,
    "maxpool": pooling.maxpool,
    "reorg": pooling.reorg,
    "reorg3d": pooling.reorg3d,
    "route": joins.route,
    "sam": joins.sam,
    "scale_channels": joins.scale_channels,
    "shortcut": joins.shortcut,
    "upsample": pooling.upsample,
}

# losses: they have no part in an inference
TRAINING_ONLY = frozenset({"contrastive", "cost"})

_RECURRENT = "recurrent layers are not supported: a picture is seen once"
REFUSED: dict[str, str] = {
    "connected": "fully connected layers are not supported: the input could have one size only",
    "conv_lstm": _RECURRENT,
    "crnn": _RECURRENT,
    "crop": "crops are not supported: they belong to classifiers",
    "detection": "YOLOv1's [detection] is not supported: it predicts through fully connected layers",
    "gru": _RECURRENT,
    "history": _RECURRENT,
    "local": "locally connected layers are not supported",
    "lstm": _RECURRENT,
    "rnn": _RECURRENT,
    "softmax": "this is a classifier, not a detector",
}
