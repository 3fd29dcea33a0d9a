"""What the page shows beside the picture: the machine, the rates, and how many there were over time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from yolo_edge.demo.inference import Inference, Model, Result, above
from yolo_edge.demo.reader import Reader
from yolo_edge.ondevice.agent.machine import conditions, memory
from yolo_edge.ondevice.agent.throttling import throttled_words

HISTORY = 600  # seconds
_CLASSES = 20  # of one second, at most: the most frequent ones


class Counts:
    """How many of each class there were, second by second: the most in one frame.

    Attributes:
        history: Of the last ten minutes: [seconds since 1970, {class: count}].
    """

    def __init__(self, models: Sequence[Model], confidence: float):
        """Nothing is counted yet; what is at or below the confidence never is."""
        self.history: deque[tuple[int, dict[str, int]]] = deque(maxlen=HISTORY)
        self._models, self._confidence = models, confidence
        self._lock = threading.Lock()
        self._second: dict[str, int] = {}

    def __call__(self, result: Result) -> None:
        """Count one frame."""
        found = result.found[0]
        names = self._models[found.model].detector.spec.names
        counted: dict[str, int] = {}
        for class_id in above(found.detections, self._confidence).class_id.tolist():
            counted[names[class_id]] = counted.get(names[class_id], 0) + 1
        with self._lock:
            for name, count in counted.items():
                self._second[name] = max(self._second.get(name, 0), count)

    def turn(self) -> tuple[int, dict[str, int]]:
        """End a second: its counts, which join the history."""
        with self._lock:
            second, self._second = self._second, {}
        most = dict(sorted(second.items(), key=lambda item: -item[1])[:_CLASSES])
        entry = (int(time.time()), most)
        self.history.append(entry)
        return entry


class Status:
    """Takes stock once a second, in a thread of its own: sensors can be slow.

    Attributes:
        latest: What there is to say; {} before the first second is over.
    """

    def __init__(
        self,
        reader: Reader,
        inference: Inference,
        counts: Counts,
        there: Callable[[], list[str]],
        viewers: Callable[[], int],
        power: Callable[[], tuple[float, str] | None],
    ):
        """Nothing runs yet.

        Args:
            reader: Whose source is looked at.
            inference: Whose rate is looked at.
            counts: To end the seconds of.
            there: Classes that are there.
            viewers: How many look.
            power: Watts, and what is measured; None: there is no meter.
        """
        self.latest: dict[str, Any] = {}
        self.second = 0
        self._reader, self._inference, self._counts = reader, inference, counts
        self._there, self._viewers, self._power = there, viewers, power
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(due + 1 - time.monotonic(), 0)):
            due = max(due + 1, time.monotonic() - 1)
            self.latest = self._take()
            self.second += 1

    def _take(self) -> dict[str, Any]:
        machine = conditions()
        power = self._power()
        return {
            "fps": round(self._inference.fps(), 2),
            "frames": self._inference.frames,
            "skipped": self._reader.skipped,
            "lost": self._reader.lost,
            "chosen": list(self._inference.chosen),
            "viewers": self._viewers(),
            "there": self._there(),
            "counts": self._counts.turn(),
            "memory_mb": memory()["now_mb"],
            "temperature": _hottest(machine["temperatures_c"]),
            "clock_mhz": max(machine["clock_mhz"], default=None),
            "load": machine["load"],
            "throttled": _throttling(machine["throttled"]),
            "power": None if power is None else {"watts": round(power[0], 2), "scope": power[1]},
        }


def _hottest(temperatures: dict[str, float]) -> dict[str, Any] | None:
    if not temperatures:
        return None
    name = max(temperatures, key=lambda key: temperatures[key])
    return {"celsius": round(temperatures[name], 1), "sensor": name}


def _throttling(bits: int | None) -> dict[str, list[str]] | None:
    """The Raspberry Pi's bits in words; None where the machine has none."""
    if bits is None:
        return None
    now, since_boot = throttled_words(bits)
    return {"now": now, "since_boot": since_boot}
