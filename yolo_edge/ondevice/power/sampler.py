"""Reading a power meter at a steady pace, on the device and on its monotonic clock, beside what is measured."""

import os
import resource
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from yolo_edge.ondevice.power.meter import MeterError, PowerMeter

NICENESS = 5  # whatever is measured goes first
_MOST_KEPT = 1_000_000  # values that nobody took: more, and nobody will


class Sampler:
    """Reads a meter in a thread until it is closed, or its deadline comes.

    A reading's time is the middle of the time that it took, on `time.monotonic`.
    """

    def __init__(self, meter: PowerMeter, deadline_s: float, expired: Callable[[], None]):
        """Begin.

        Args:
            meter: To read; it is closed with the sampler.
            deadline_s: Seconds until `expired` is called, unless `take` is called before: the coordinator is gone.
            expired: What to do then, in the sampler's thread.
        """
        self._meter, self._expired = meter, expired
        self._deadline_s = deadline_s
        self._deadline = time.monotonic() + deadline_s
        self._lock = threading.Lock()
        self._fresh = threading.Condition(self._lock)
        self._times: List[int] = []
        self._values: List[List[float]] = []
        self._failures, self._problem = 0, ""
        self._stop = threading.Event()
        self._began, self._used = time.monotonic(), _cpu_time()
        self._thread = threading.Thread(target=self._run, name="power meter", daemon=True)
        self._thread.start()

    def take(self) -> Dict[str, Any]:
        """What was read since the last time.

        Returns:
            `times_ns`; `values`, a row a reading; `failures`, of all time, and the last `problem`; `wall_s` and `cpu_s`
            that this process and what it started took since the beginning: what the sampling costs.
        """
        self._deadline = time.monotonic() + self._deadline_s
        with self._lock:
            times, self._times = self._times, []
            values, self._values = self._values, []
            failures, problem = self._failures, self._problem
        return {
            "times_ns": times,
            "values": values,
            "failures": failures,
            "problem": problem,
            "wall_s": time.monotonic() - self._began,
            "cpu_s": _cpu_time() - self._used,
        }

    def wait(self, seconds: float = 5.0) -> None:
        """Wait for a reading that begins after now, for a while."""
        now, end = time.monotonic_ns(), time.monotonic() + seconds
        with self._fresh:
            while not (self._times and self._times[-1] > now) and time.monotonic() < end:
                self._fresh.wait(max(end - time.monotonic(), 0))

    def close(self) -> None:
        """Stop, and give the meter back."""
        self._stop.set()
        self._thread.join(self._meter.interval_s + 10)
        self._meter.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._read()
            now = time.monotonic()
            if now > self._deadline:
                self._meter.close()
                self._expired()
                return
            if not self._meter.paced:
                # what was missed is not made up for: readings in a row say nothing new
                due = max(due + self._meter.interval_s, now)
                self._stop.wait(due - now)

    def _read(self) -> None:
        before = time.monotonic_ns()
        try:
            values = self._meter.read()
        except MeterError as error:
            with self._lock:
                self._failures, self._problem = self._failures + 1, str(error)
            self._stop.wait(self._meter.interval_s)
            return
        after = time.monotonic_ns()
        time_ns = after if self._meter.paced else (before + after) // 2
        with self._lock:
            if len(self._times) * len(values) < _MOST_KEPT:
                self._times.append(time_ns)
                self._values.append(values)
                self._fresh.notify_all()


def be_polite() -> None:
    """Lower the priority of this process, once."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICENESS))
    except (OSError, AttributeError):  # not everywhere
        return


def _cpu_time() -> float:
    """Seconds of this process and of the programs that it ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def describe(meter: PowerMeter) -> Dict[str, Optional[object]]:
    """What a trace has to say of its meter, as plain data."""
    return {
        "kind": meter.kind,
        "scope": meter.scope,
        "estimated": meter.estimated,
        "what": meter.what(),
        "total": list(meter.total),
        "columns": [{"rail": column.rail, "unit": column.unit, "wrap": column.wrap} for column in meter.columns],
        "interval_s": meter.interval_s,
    }
