"""What commands say of a dataset."""

from typing import TYPE_CHECKING

from yolo_edge.cli.output import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_edge.datasets import Dataset

_SHOWN = 5


def note_dataset(dataset: "Dataset") -> None:
    """Tell what the reader left out or took for granted."""
    for remark in dataset.notes:
        note(f"note: {remark}")
    note_skipped(dataset.skipped)


def note_skipped(skipped: "Sequence[str]") -> None:
    """Tell which pictures and labels were left out as bad."""
    for problem in skipped[:_SHOWN]:
        note(f"skipped: {problem}")
    if skipped:
        more = f", the first {_SHOWN} above" if len(skipped) > _SHOWN else ""
        note(f"{len(skipped)} bad picture{'s' if len(skipped) > 1 else ''} or labels left out{more}")
