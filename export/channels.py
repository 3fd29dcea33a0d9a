"""Where a tensor's channels are in a file that has more of them than the network."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line

CHANNELS_KEY = "yolo_edge.channels"  # in a file's metadata: layout → the tensors that have it

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]


class Layout(msgspec.Struct, frozen=True):
    """Blocks of channels.

    Attributes:
        blocks: How many channels of the network a block holds, and how many it has in the file, the last ones zeros.
    """

    blocks: tuple[tuple[_Count, _Count], ...]

    @property
    def padded(self) -> int:
        """Channels in the file."""
        return sum(padded for _, padded in self.blocks)

    @property
    def is_padded(self) -> bool:
        """Whether there are more than the network has."""
        return any(real != padded for real, padded in self.blocks)

    @property
    def places(self) -> np.ndarray:
        """Where the network's channels are among the file's."""
        starts = np.cumsum([0, *(padded for _, padded in self.blocks)])
        return np.concatenate([start + np.arange(real) for start, (real, _) in zip(starts, self.blocks, strict=False)])

    def spread(self, array: np.ndarray, axis: int, fill: float) -> np.ndarray:
        """An array with the file's channels along an axis, from one with the network's."""
        shape = list(array.shape)
        shape[axis] = self.padded
        result = np.full(shape, fill, array.dtype)
        np.moveaxis(result, axis, 0)[self.places] = np.moveaxis(array, axis, 0)
        return result


def channels_to_json(layouts: Mapping[str, Layout]) -> str:
    """What a file's metadata have under `CHANNELS_KEY`; `layouts`: by tensor."""
    by_layout: dict[str, list[str]] = {}
    for name, layout in layouts.items():
        by_layout.setdefault("+".join(f"{real}/{padded}" for real, padded in layout.blocks), []).append(name)
    return msgspec.json.encode(by_layout, order="deterministic").decode()


def channels_from_json(text: str) -> dict[str, Layout]:
    """The same read back.

    Raises:
        ValueError: It is something else.
    """
    layouts = {}
    for blocks, names in msgspec.json.decode(text, type=dict[str, list[str]]).items():
        pairs = [tuple(map(int, block.split("/"))) for block in blocks.split("+")]
        layout = msgspec.convert({"blocks": pairs}, Layout)
        if any(real > padded for real, padded in layout.blocks):
            raise ValueError(f"{blocks!r} has blocks that hold more channels than they have")
        layouts.update(dict.fromkeys(names, layout))
    return layouts


def channels_of(metadata: Mapping[str, str], where: str) -> dict[str, Layout]:
    """Tensor → layout, as a file's metadata have them; nothing where they do not.

    Raises:
        InputError: They are damaged; the message begins with `where`.
    """
    try:
        return channels_from_json(metadata.get(CHANNELS_KEY, "{}"))
    except ValueError as error:
        raise InputError(f"{where}: its metadata {CHANNELS_KEY!r} cannot be read ({first_line(error)})") from error
