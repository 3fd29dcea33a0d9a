"""Which runtimes of a machine run which models: each is tried there, in a process of its own, for some crash."""

from collections.abc import Sequence
from pathlib import Path

from yolo_edge.benchmarks.agents import Connect
from yolo_edge.benchmarks.results import LeftOut
from yolo_edge.benchmarks.rounds import LOAD_SECONDS, Progress, Slot, Subject, load_request
from yolo_edge.benchmarks.settings import ALL, Settings
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable
from yolo_edge.ondevice.runtimes import BY_SUFFIX


def find_slots(
    connect: Connect, subjects: Sequence[Subject], settings: Settings, progress: Progress = lambda _: None
) -> tuple[list[Slot], list[LeftOut]]:
    """What becomes a cell, model by model, and the runtimes that are left out.

    Args:
        connect: Starts an agent; its argument says what for.
        subjects: The models.
        settings: Their `runtime` counts: "all" are tried, any other is taken as it is; and their threads.
        progress: Called before each trial with what it does.

    Raises:
        InputError: No runtime there runs one of the models.
    """
    if settings.runtime != ALL:
        return [Slot(subject, number, settings.runtime) for subject in subjects for number in settings.threads], []
    slots: list[Slot] = []
    left_out: list[LeftOut] = []
    for subject in subjects:
        reasons = {}
        for runtime in BY_SUFFIX[Path(subject.path).suffix.lower()]:
            progress(f"{subject.name}: trying {runtime}")
            reason = _try(connect, Slot(subject, settings.threads[0], runtime), settings)
            if reason is None:
                slots += [Slot(subject, number, runtime) for number in settings.threads]
            else:
                reasons[runtime] = reason
        if not any(slot.subject is subject for slot in slots):
            listed = "; ".join(f"{runtime}: {reason}" for runtime, reason in reasons.items())
            raise InputError(f"{subject.name}: no runtime there runs it ({listed})")
        left_out += [LeftOut(model=subject.name, runtime=name, reason=why) for name, why in reasons.items()]
    return slots, left_out


def _try(connect: Connect, slot: Slot, settings: Settings) -> str | None:
    """Load a model and run it once; why that is not possible, or None."""
    try:
        with connect(slot.label) as agent:
            agent.ask("load", LOAD_SECONDS, **load_request(slot, settings))
    except YoloEdgeError as error:
        return printable(str(error).removeprefix(f"{slot.subject.path}: "))
    return None
