"""Which operators of a TFLite file XNNPACK runs, on this machine."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.runtimes.tflite import load_interpreter


@dataclass(frozen=True)
class Operator:
    """One operator of a loaded model.

    Attributes:
        name: Of `schema.BUILTIN_OPERATORS`, or of a custom operator.
        inputs: Numbers of tensors.
        outputs: Numbers of tensors.
        delegated: XNNPACK runs it.
        integer: Its first output holds int8.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    delegated: bool
    integer: bool = False


@dataclass(frozen=True)
class Delegation:
    """How a model is shared out.

    Attributes:
        operators: In the order of the file.
        partitions: Parts of the model that XNNPACK runs without a break.
    """

    operators: tuple[Operator, ...]
    partitions: int

    @classmethod
    def of(cls, model: PathLike | bytes) -> "Delegation":
        """Load a model and see.

        Args:
            model: A path, or the bytes of a TFLite file.

        Raises:
            InputError: No runtime is installed, or it does not load the model.
        """
        # not public, and there in every runtime so far; the file's operators stay listed beside what replaced them
        interpreter = load_interpreter(model)
        details = interpreter._get_ops_details()
        integers = {int(item["index"]) for item in interpreter.get_tensor_details() if item["dtype"] is np.int8}
        operators = [op for op in details if op["op_name"] != "DELEGATE"]
        partitions = [op for op in details if op["op_name"] == "DELEGATE"]
        producers = {int(tensor): i for i, op in enumerate(operators) for tensor in op["outputs"]}
        delegated: set[int] = set()
        for part in partitions:
            known = {int(tensor) for tensor in part["inputs"]}
            waiting = [int(tensor) for tensor in part["outputs"]]
            while waiting:
                tensor = waiting.pop()
                if tensor in known or tensor not in producers:
                    continue
                known.add(tensor)
                delegated.add(producers[tensor])
                waiting += [int(source) for source in operators[producers[tensor]]["inputs"]]
        return cls(
            tuple(
                Operator(
                    op["op_name"],
                    tuple(map(int, op["inputs"])),
                    tuple(map(int, op["outputs"])),
                    i in delegated,
                    int(op["outputs"][0]) in integers,
                )
                for i, op in enumerate(operators)
            ),
            len(partitions),
        )

    @property
    def left_out(self) -> Counter[str]:
        """The operators that XNNPACK does not run: name → how many."""
        return Counter(op.name for op in self.operators if not op.delegated)
