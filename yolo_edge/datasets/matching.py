"""Which class of a model is which class of a dataset: by name."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_edge.ondevice.errors import InputError

# one class each: VOC's and darknet's names, COCO's own, and spellings; without spaces, hyphens and capitals
_SYNONYMS = (
    ("aeroplane", "airplane"),
    ("cellphone", "mobilephone"),
    ("donut", "doughnut"),
    ("hairdrier", "hairdryer"),
    ("motorbike", "motorcycle"),
    ("sofa", "couch"),
    ("tvmonitor", "tv"),
)
_MEANING = {word: group[0] for group in _SYNONYMS for word in group}


@dataclass(frozen=True)
class ClassMatch:
    """How a model's classes stand to a dataset's.

    Attributes:
        to_dataset: int64 [model classes]: the dataset's class id, -1 where it has none.
        by: "name", or "id" where one side has no names of its own.
        only_dataset: Class names that the model lacks.
        only_model: Class names that the dataset lacks.
    """

    to_dataset: NDArray[np.int64]
    by: str
    only_dataset: tuple[str, ...]
    only_model: tuple[str, ...]


def match_classes(model: Sequence[str], dataset: Sequence[str], *, named: bool = True) -> ClassMatch:
    """Match class names, whatever their case, spaces and hyphens, with the synonyms of VOC and COCO.

    Args:
        model: Class names by class id.
        dataset: Class names by class id.
        named: Both sides have names of their own; otherwise the ids are matched.

    Raises:
        InputError: Nothing matches, or a name is ambiguous.
    """
    if not named:
        return _by_id(model, dataset)
    ours, theirs = [_meaning(name) for name in model], [_meaning(name) for name in dataset]
    wanted = set(ours)
    if ours == theirs:  # also where names stand twice
        return ClassMatch(np.arange(len(model)), "name", (), ())
    place: dict[str, int] = {}
    for number, name in enumerate(theirs):
        if name in place and name in wanted:
            both = f"{dataset[place[name]]!r} and {dataset[number]!r}"
            raise InputError(f"the dataset has two classes {both}: which is the model's?")
        place[name] = number
    to_dataset = np.array([place.get(name, -1) for name in ours], np.int64)
    found = Counter(to_dataset[to_dataset >= 0].tolist())
    if not found:
        raise InputError(
            f"no class of the model ({_list(model)}) is one of the dataset's ({_list(dataset)}); --names FILE renames "
            "the model's"
        )
    twice, count = found.most_common(1)[0]
    if count > 1:
        raise InputError(f"several classes of the model are {dataset[twice]!r} in the dataset; --names renames them")
    return ClassMatch(
        to_dataset,
        "name",
        tuple(name for number, name in enumerate(dataset) if number not in found),
        tuple(name for name, target in zip(model, to_dataset, strict=True) if target < 0),
    )


def _by_id(model: Sequence[str], dataset: Sequence[str]) -> ClassMatch:
    to_dataset = np.arange(len(model))
    to_dataset[len(dataset) :] = -1
    return ClassMatch(to_dataset, "id", tuple(dataset[len(model) :]), tuple(model[len(dataset) :]))


def _meaning(name: str) -> str:
    plain = re.sub(r"[\s_-]+", "", name.casefold())
    return _MEANING.get(plain, plain)


def _list(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")
