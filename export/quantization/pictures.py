"""The pictures that an int8 network is made with: some to calibrate, others, held back, to choose and to judge."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_edge.datasets import Preparer, load_images
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import InputSpec

DEFAULT_COUNT = 64
LEAST = 16  # below, a user is told
_HELD_BACK = 4  # one in so many


@dataclass(frozen=True)
class Pictures:
    """What to calibrate with.

    Attributes:
        calibration: Pictures that statistics come from.
        held_back: Pictures that no statistics come from.
        notes: What a person should know of them.
    """

    calibration: tuple[Path, ...]
    held_back: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def choose(cls, paths: Sequence[Path], count: int = DEFAULT_COUNT, seed: int = 0) -> "Pictures":
        """Draw pictures at random, leaving out those that cannot be read and those that are there twice.

        Args:
            paths: To draw from.
            count: How many to draw, at most.
            seed: Of the draw.

        Raises:
            InputError: Less than two are left.
        """
        order = np.random.default_rng(seed).permutation(len(paths))
        found: dict[str, Path] = {}
        bad, same = [], 0
        drawn = [paths[i] for i in order]
        for item in load_images(drawn, lambda image: hashlib.sha256(image.tobytes()).hexdigest()):
            if item.error is not None:
                bad.append(str(item.error))
            elif item.get() in found:
                same += 1
            else:
                found[item.get()] = item.path
            if len(found) == count:
                break
        kept = list(found.values())
        if len(kept) < 2:
            why = f" ({bad[0]})" if bad else ""
            raise InputError(f"calibration needs pictures that differ, {LEAST} or more; got {len(kept)}{why}")
        notes = []
        if bad:
            notes.append(f"{len(bad)} pictures cannot be read and were left out, such as {bad[0]}")
        if same:
            notes.append(f"{same} pictures are copies of others and were left out")
        if len(kept) < LEAST:
            notes.append(
                f"calibrated with {len(kept)} pictures only: {LEAST} or more, better {DEFAULT_COUNT}, are wanted"
            )
        held = max(len(kept) // _HELD_BACK, 1)
        return cls(tuple(kept[held:]), tuple(kept[:held]), tuple(notes))


def stream(paths: Sequence[Path], spec: InputSpec) -> Iterator[np.ndarray]:
    """The input tensors of pictures, through the model's own preprocessing, read ahead by threads."""
    for item in load_images(paths, Preparer([spec])):
        ((tensor, _),) = item.get()
        yield tensor
