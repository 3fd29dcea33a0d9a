"""What the detector asks of a runtime."""

from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from yolo_edge.ondevice.errors import InputError


class Runtime:
    """A loaded model.

    Attributes:
        name: Of the runtime, as `--runtime` spells it.
        version: Of the library.
        input_name: The model's one input.
        input_shape: Its shape.
        input_dtype: Its numpy type name.
        output_shapes: Output name → shape, in the model's order.
        output_dtypes: Output name → numpy type name.
        metadata: What the file says about itself: key → text.
        threads: For one inference; None: the runtime's own choice.
        channels_last: An NCHW input is read as it is where its channels are last in memory, and copied otherwise; maps
            come so. Shapes are those of the file.
        precise: Whether it was told to keep int8 sums from saturating, at some cost (float models stay what they are);
            None: the runtime has no such choice.
    """

    name: str
    version: str
    input_name: str
    input_shape: Tuple[int, ...]
    input_dtype: str
    output_shapes: Mapping[str, Tuple[int, ...]]
    output_dtypes: Mapping[str, str]
    metadata: Mapping[str, str]
    threads: Optional[int]
    channels_last: bool = False
    precise: Optional[bool] = None

    def run(self, tensor: np.ndarray) -> Dict[str, np.ndarray]:
        """One inference: the input tensor → output name → array."""
        raise NotImplementedError


def check_one_input(count: int, where: str) -> None:
    """Check that a model has a single input.

    Raises:
        InputError: It has another number.
    """
    if count != 1:
        raise InputError(f"{where}: a detector has one input, this model has {count}")
