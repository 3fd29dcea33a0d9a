"""A darknet cfg with other anchors: the lines that change, and no others."""

from collections.abc import Sequence
from pathlib import Path

from yolo_edge.export.importers.darknet.cfg import Section, decode_cfg, read_cfg
from yolo_edge.export.importers.darknet.heads import HEADS
from yolo_edge.ondevice.decode import entries_before_classes
from yolo_edge.ondevice.errors import InputError

_FAMILIES = {"Gaussian_yolo": "gaussian_yolo", "region": "region", "yolo": "yolo"}


def replace_anchors(path: Path, pixels: str, cells: Sequence[str], masks: Sequence[Sequence[int]]) -> str:
    """The text of a cfg with new `anchors`, `num` and `mask` in its heads and `filters` before them.

    Args:
        path: The cfg.
        pixels: The anchors for `[yolo]` and `[Gaussian_yolo]`.
        cells: For each head its own anchors in cells of its grid, which `[region]` takes.
        masks: For each head, in the order of the cfg, which anchors it predicts.

    Raises:
        InputError: The cfg cannot be read, has other heads, or a head does not follow a convolution.
    """
    sections = read_cfg(path)
    heads = [i for i, section in enumerate(sections) if section.kind in HEADS]
    if len(heads) != len(masks):
        raise InputError(f"{path}: has {len(heads)} heads, anchors were shared out among {len(masks)}")
    count = sum(len(mask) for mask in masks)
    lines = decode_cfg(path).split("\n")
    added: dict[int, list[str]] = {}
    for at, mask, own in zip(heads, masks, cells, strict=True):
        head, before = sections[at], sections[at - 1]
        if before.kind != "convolutional":
            raise head.error(f"needs a [convolutional] before it, there is [{before.kind}]")
        entries = entries_before_classes(_FAMILIES[head.kind]) + head.integer("classes", 20, 1)
        if head.kind == "region":
            values = {"anchors": own, "num": str(len(mask))}
        else:
            values = {"anchors": pixels, "num": str(count), "mask": ",".join(map(str, mask))}
        for key, value in values.items():
            _set(lines, added, head, key, value)
        _set(lines, added, before, "filters", str(entries * len(mask)))
    return "\n".join(text for number, line in enumerate(lines, start=1) for text in (line, *added.get(number, ())))


def _set(lines: list[str], added: dict[int, list[str]], section: Section, key: str, value: str) -> None:
    """Change a line of a section, or add one below its head."""
    if key in section.options:
        at = section.options[key][1] - 1
        name, _, old = lines[at].partition("=")
        lines[at] = f"{name}={' ' if old.startswith(' ') else ''}{value}"
    else:
        added.setdefault(section.line, []).append(f"{key}={value}")
