import pytest

from yolo_edge.datasets import match_classes
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.names import COCO, VOC

# COCO's own spelling, in its order
OFFICIAL = [
    {"motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant"}.get(name)
    or {"diningtable": "dining table", "tvmonitor": "tv"}.get(name, name)
    for name in COCO
]


def test_darknets_names_are_cocos() -> None:
    match = match_classes(COCO, OFFICIAL)
    assert match.to_dataset.tolist() == list(range(80))
    assert match.only_dataset == match.only_model == ()


def test_voc_in_coco() -> None:
    match = match_classes(OFFICIAL, VOC)
    assert match.only_dataset == ()
    assert len(match.only_model) == 60
    for name in VOC:
        assert name in COCO
        assert match.to_dataset[COCO.index(name)] == VOC.index(name)
    back = match_classes(VOC, OFFICIAL)
    assert len(back.only_dataset) == 60
    assert back.only_model == ()


def test_case_spaces_and_hyphens() -> None:
    match = match_classes(["Traffic-Light", "HOT_DOG"], ["hot dog", "cat", "traffic light"])
    assert match.to_dataset.tolist() == [2, 0]
    assert match.only_dataset == ("cat",)


def test_by_id() -> None:
    match = match_classes(["class_0", "class_1", "class_2"], ["a", "b"], named=False)
    assert match.by == "id"
    assert match.to_dataset.tolist() == [0, 1, -1]
    assert match.only_model == ("class_2",)
    assert match_classes(["a"], ["b", "c"], named=False).only_dataset == ("c",)


def test_what_does_not_match() -> None:
    message = r"no class of the model \(cat, dog\) is one of the dataset's \(a, b, c, d, e …\)"
    with pytest.raises(InputError, match=message):
        match_classes(["cat", "dog"], list("abcdefg"))
    with pytest.raises(InputError, match="two classes 'tv' and 'tvmonitor'"):
        match_classes(["TV"], ["tv", "tvmonitor"])
    with pytest.raises(InputError, match="several classes of the model are 'tv'"):
        match_classes(["TV", "tvmonitor"], ["tv", "cat"])


def test_names_that_stand_twice_on_both_sides() -> None:
    assert match_classes(["crane", "crane"], ["crane", "Crane"]).to_dataset.tolist() == [0, 1]


def test_many_classes_take_no_minutes() -> None:
    """As many as a dataset may have; minutes where each is looked for among all."""
    names = [f"class {i}" for i in range(100_000)]
    match = match_classes(names, [*names[1:], "one more"])
    assert match.to_dataset[[0, 1, -1]].tolist() == [-1, 0, 99_998]
    assert (match.only_dataset, match.only_model) == (("one more",), ("class 0",))
