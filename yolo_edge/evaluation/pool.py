"""Accuracy work on processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from yolo_edge.evaluation.chunks import detect_chunk
from yolo_edge.ondevice.errors import YoloEdgeError

MOST_ATTEMPTS = 3  # of a chunk whose worker ended


@dataclass(frozen=True)
class Job:
    """One chunk.

    Attributes:
        number: The caller's own.
        request: Of `chunks.Request`, encoded.
        model: The file.
        sha256: Of the file.
        pictures: The files.
        attempts: How often it was begun and not finished.
    """

    number: int
    request: bytes
    model: Path
    sha256: str
    pictures: tuple[Path, ...]
    attempts: int = 0

    def again(self) -> "Job":
        """The same, to be begun again.

        Raises:
            YoloEdgeError: That was done often enough.
        """
        if self.attempts + 1 >= MOST_ATTEMPTS:
            raise YoloEdgeError(
                f"{self.model.name}: a worker ended {MOST_ATTEMPTS} times at {self.pictures[0]} and those that follow, "
                "as it does when memory runs out: try fewer workers"
            )
        return replace(self, attempts=self.attempts + 1)


class Workers(Protocol):
    """What runs chunks."""

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes]]:
        """Run all, in any order: the number of each with its encoded answer, once."""
        ...


class LocalWorkers:
    """As many processes as were asked for, with one thread each."""

    def __init__(self, workers: int):
        self.workers = workers

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes]]:
        """See `Workers`. Where a process ends, what was not finished is begun again in new ones.

        Raises:
            InputError: A model cannot be used.
            YoloEdgeError: A process ended again and again.
        """
        waiting = deque(jobs)
        pool, running = self._pool(), dict[Future[bytes], Job]()
        try:
            while True:
                broken = False
                while waiting and len(running) < 2 * self.workers and not broken:
                    try:
                        running[_submit(pool, waiting[0])] = waiting[0]
                        waiting.popleft()
                    except BrokenProcessPool:
                        broken = True
                if not running and not waiting:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED) if running else (set(), set())
                for future in done:
                    job = running.pop(future)
                    try:
                        answer = future.result()
                    except BrokenProcessPool:
                        waiting.append(job.again())
                        broken = True
                    else:
                        yield job.number, answer
                if broken:  # it ends all its processes: the others' chunks come back, too
                    waiting.extend(job.again() for job in running.values())
                    running.clear()
                    pool.shutdown(wait=True, cancel_futures=True)
                    pool = self._pool()
        finally:
            _end(pool)

    def _pool(self) -> ProcessPoolExecutor:
        # spawned: a forked child would inherit the locks of this process's threads
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin)


def _submit(pool: ProcessPoolExecutor, job: Job) -> "Future[bytes]":
    return pool.submit(detect_chunk, job.request, str(job.model), [str(path) for path in job.pictures])


def _end(pool: ProcessPoolExecutor) -> None:
    """At once: what runs is begun again another time."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _begin() -> None:
    """In each process: one thread for everything; it ends with the process that started it, however that ends."""
    import cv2  # noqa: PLC0415 - for the process, not for whoever imports this

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)
