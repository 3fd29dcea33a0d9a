"""Which pictures do what: some calibrate, others steer, others judge; none does two of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_edge.datasets import Dataset
from yolo_edge.export.quantization.pictures import DEFAULT_COUNT
from yolo_edge.ondevice.errors import InputError

LEAST = 4  # pictures that steer, and that judge
MOST = 500  # of each: more take long and say little more


@dataclass(frozen=True)
class Part:
    """Pictures with one task.

    Attributes:
        paths: The files.
        dataset: Their labels, in that order; None: without.
    """

    paths: tuple[Path, ...]
    dataset: Dataset | None = None


@dataclass(frozen=True)
class Roles:
    """Who does what.

    Attributes:
        calibration: To draw the pictures that calibrate from.
        steer: By these layers go back to float.
        judge: What is reported comes from these.
        notes: The same in words.
    """

    calibration: tuple[Path, ...]
    steer: Part
    judge: Part
    notes: tuple[str, ...]


def roles_of_dataset(
    validation: Dataset,
    training: Sequence[Path],
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    *,
    source: str = "the training part",
) -> Roles:
    """With labels: the training part calibrates, one half of the validation part steers, the other judges.

    Args:
        validation: Labelled.
        training: Pictures of the training part, or any others. Those of the validation part are left out; where
            nothing remains, some of that calibrate.
        count: How many calibrate at most.
        seed: Of the halves.
        source: Where `training` comes from, in words.

    Raises:
        InputError: Too few pictures.
    """
    within = {path.absolute() for path in validation.paths}
    calibration = tuple(path for path in training if path.absolute() not in within)
    order = np.random.default_rng(seed).permutation(len(validation.paths))
    who = f"{source} calibrates"
    if not calibration:
        some = min(count, len(order) // 2)
        calibration, order = tuple(validation.paths[i] for i in order[:some]), order[some:]
        who = f"{some} of {validation.source}, which has no part of its own for that, calibrate"
    halves = [np.sort(order[start::2])[:MOST] for start in (0, 1)]
    parts = []
    for half in halves:
        keep = np.zeros(len(validation.paths), bool)
        keep[half] = True
        chosen = validation.select(keep)
        parts.append(Part(chosen.paths, chosen))
    return _roles(calibration, parts[0], parts[1], who)


def roles_of_pictures(paths: Sequence[Path], count: int = DEFAULT_COUNT, seed: int = 0) -> Roles:
    """Without labels: some calibrate, half of the others steer, the other half judge.

    Args:
        paths: All pictures.
        count: How many calibrate at most.
        seed: Of the draw.

    Raises:
        InputError: Too few pictures.
    """
    order = np.random.default_rng(seed).permutation(len(paths))
    some = min(count, len(paths) // 2)
    calibration = tuple(paths[i] for i in order[:some])
    rest = order[some:]
    parts = [Part(tuple(paths[i] for i in np.sort(rest[start::2])[:MOST])) for start in (0, 1)]
    return _roles(calibration, parts[0], parts[1], f"{some} pictures calibrate")


def _roles(calibration: tuple[Path, ...], steer: Part, judge: Part, who: str) -> Roles:
    least = min(len(steer.paths), len(judge.paths))
    if least < LEAST:
        raise InputError(
            f"a limit of accuracy needs pictures that calibrate, others that steer and others that judge, {LEAST} or "
            f"more of each; {least} are left to judge"
        )
    note = f"{who}, {len(steer.paths)} other pictures steer, {len(judge.paths)} others judge"
    return Roles(calibration, steer, judge, (note,))
