"""Where detectors run: on this machine, or on a device of the inventory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_edge.cli.models import far_detector, open_sized, sha256_of
from yolo_edge.datasets.search import Searched, search
from yolo_edge.devices.finding import FarDetector, search_there
from yolo_edge.devices.inventory import LOCAL, find_device
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.devices.session import session_on
from yolo_edge.ondevice.detector import Detector


@dataclass(frozen=True)
class Place:
    """Detectors that are ready to look for objects, somewhere.

    Attributes:
        device: Its name.
        detectors: With the settings to use.
        sha256: Of the file that each runs.
        emulated: Times mean nothing there.
        search: Looks into pictures with each detector, see `yolo_edge.datasets.search`.
    """

    device: str
    detectors: Sequence[Detector | FarDetector]
    sha256: Sequence[str]
    emulated: bool
    search: Callable[..., Iterator[Searched]]


@contextmanager
def detectors_on(device: str, inventory: Path | None, models: Sequence[Mapping[str, Any]]) -> Iterator[Place]:
    """Open detectors on a device, and let go of it at the end.

    Args:
        device: The `--device` option.
        inventory: The `--inventory` option.
        models: Arguments of `open_sized` for each.

    Raises:
        InputError: A model, an option or the inventory cannot be used.
        YoloEdgeError: The device cannot be used.
    """
    entry = find_device(device, inventory)
    if device == LOCAL:
        opened = [open_sized(**arguments) for arguments in models]
        here = [detector for detector, _ in opened]
        yield Place(
            device,
            here,
            [sha256 for _, sha256 in opened],
            False,
            lambda paths, **options: search(here, paths, **options),
        )
        return
    with scratch_folder() as folder:
        there = [far_detector(**arguments, folder=folder) for arguments in models]
        digests = [sha256_of(Path(detector.model)) for detector in there]
        with session_on(device, entry) as connect, connect("detecting") as agent:
            emulated = entry.emulated or agent.host.get("emulated") is True
            yield Place(
                device, there, digests, emulated, lambda paths, **options: search_there(agent, there, paths, **options)
            )
