"""Accuracy work on a Dask cluster that is there already.

Model and pictures travel to the workers, which need no files of their own, only the same yolo-edge. A scheduler can
make its workers and clients run anything: only one that is trusted may be named.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from yolo_edge.evaluation.chunks import detect_chunk
from yolo_edge.evaluation.pool import Job
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import first_line, read_bytes
from yolo_edge.ondevice.images import MAX_BYTES
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES

_SCHEMES = ("tcp://", "tls://")
_CONNECT_S = 20.0
_LOOK_S = 2.0  # how often to see whether anybody still works
_NOBODY_S = 60.0  # without a worker, or a scheduler: then it is given up
_GONE = ("cancelled", "lost")


class DaskWorkers:
    """The workers of a Dask scheduler. A context manager: leaving it gives the connection back."""

    def __init__(self, address: str, *, patience_s: float = _NOBODY_S):
        """Connect.

        Args:
            address: Of the scheduler, such as tcp://127.0.0.1:8786.
            patience_s: How long to go on without a worker.

        Raises:
            InputError: It is no address, or nobody answers there.
            ModuleNotFoundError: The `dask` extra is not installed.
        """
        if not address.startswith(_SCHEMES):
            raise InputError(f"--scheduler {address}: expected an address such as tcp://127.0.0.1:8786")
        import distributed  # noqa: PLC0415 - an extra

        self._distributed, self._address, self._patience = distributed, address, patience_s
        try:
            self._client = distributed.Client(address, timeout=_CONNECT_S)  # `wait` wants a default one
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise InputError(f"--scheduler {address}: no Dask scheduler answers there ({first_line(error)})") from error

    def __enter__(self) -> "DaskWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close(timeout=5)

    @property
    def slots(self) -> int:
        """How many chunks the workers can run at once."""
        try:
            return sum(self._client.nthreads().values())
        except OSError:  # the scheduler is gone, or was restarted
            return 0

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes]]:
        """See `pool.Workers`.

        Dask itself begins again what a lost worker had; a model that was lost with it is sent again.

        Raises:
            InputError: A model cannot be used.
            YoloEdgeError: There are no workers, or they end again and again.
        """
        waiting = deque(jobs)
        running: dict[Any, Job] = {}
        models: dict[str, Any] = {}  # of those whose chunks are under way
        seen = time.monotonic()
        try:
            while waiting or running:
                slots = self.slots
                if slots:
                    seen = time.monotonic()
                elif time.monotonic() - seen > self._patience:
                    raise YoloEdgeError(
                        f"{self._address}: no Dask worker for {self._patience:.0f} s; what is done is kept, the same "
                        "command goes on from there"
                    )
                while waiting and len(running) < 2 * slots:
                    job = waiting.popleft()
                    try:
                        running[self._submit(job, models)] = job
                    except (OSError, self._distributed.TimeoutError):  # the workers went while the model was on its way
                        waiting.append(job.again())
                for future in self._finished(running):
                    job = running.pop(future)
                    if future.status in _GONE:  # the worker that had the model is gone
                        models.pop(job.sha256, None)
                        waiting.append(job.again())
                        continue
                    yield job.number, self._result(future)
                    future.release()
                under_way = {job.sha256 for job in running.values()}
                for sha256 in [key for key in models if key not in under_way and not waiting]:
                    del models[sha256]
        finally:
            self._client.cancel(list(running))

    def _submit(self, job: Job, models: dict[str, Any]) -> Any:
        if job.sha256 not in models:
            data = read_bytes(job.model, MAX_MODEL_BYTES)
            models[job.sha256] = self._client.scatter(data, broadcast=True, hash=False)
        pictures = [_content(path) for path in job.pictures]
        return self._client.submit(detect_chunk, job.request, models[job.sha256], pictures, pure=False)

    def _finished(self, running: dict[Any, Job]) -> list[Any]:
        if not running:
            time.sleep(_LOOK_S)
            return []
        with suppress(TimeoutError, self._distributed.TimeoutError, self._distributed.CancelledError):
            self._distributed.wait(list(running), timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        return [future for future in running if future.status != "pending"]

    def _result(self, future: Any) -> bytes:
        try:
            answer = future.result(timeout=_NOBODY_S)
        except YoloEdgeError:
            raise
        except Exception as error:
            raise YoloEdgeError(
                f"{self._address}: a worker failed ({type(error).__name__}: {first_line(error)})"
            ) from error
        if not isinstance(answer, bytes):
            raise YoloEdgeError(f"{self._address}: a worker gave {type(answer).__name__}, expected bytes")
        return answer


def _content(path: Path) -> bytes | str:
    """What a file holds; the path of one that cannot be read, so that the worker says what is wrong."""
    try:
        return read_bytes(path, MAX_BYTES)
    except InputError:
        return str(path)
