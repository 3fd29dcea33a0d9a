"""A demo from its source to the page and the actions: what is started with it, and ended with it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from yolo_edge.demo.actions import Lamps, Program, Watch, Webhook, Worker
from yolo_edge.demo.inference import Inference, Model, Sink
from yolo_edge.demo.lines import JsonLines
from yolo_edge.demo.power import Power
from yolo_edge.demo.reader import Reader
from yolo_edge.demo.recorder import Recorder
from yolo_edge.demo.sources import Pictures, Source
from yolo_edge.demo.status import Counts, Status
from yolo_edge.ondevice.agent.machine import usable_cpus

if TYPE_CHECKING:
    import socket

    from yolo_edge.demo.server import Server

FLOOR = 0.1  # of confidences that the page gets: its slider goes that low

_USUAL_FPS, _PICTURES_FPS = 25.0, 1.0  # of a video that does not say, and of single pictures


@dataclass(frozen=True)
class Settings:
    """What a demo does with what it finds.

    Attributes:
        confidence: What is at or below does not count; the page may show more, down to `FLOOR`.
        fps: Of a file: pictures a second; 0: as fast as it goes; None: its own speed where somebody may look.
        loop: Begin a file again at its end.
        token: What viewers have to know; None: nothing.
        save: A video to write.
        jsonl: A stream for a line a frame.
        gpio: Class name → pin.
        webhook: An address that events are posted to.
        command: A program and its arguments, started for events.
        on_after, off_after: Frames in a row until something is there, or gone.
        every: Seconds between two events "appeared" of a class.
    """

    confidence: float = 0.25
    fps: float | None = None
    loop: bool = False
    token: str | None = None
    save: Path | None = None
    jsonl: TextIO | None = None
    gpio: Mapping[str, int] | None = None
    webhook: str | None = None
    command: Sequence[str] | None = None
    on_after: int = 2
    off_after: int = 5
    every: float = 10.0


class Demo:
    """A running demo. A context manager: leaving it ends all threads, puts lamps out and completes files.

    Attributes:
        server: Of the page; None: there is none.
        batch: A file without a page: every frame is worked on, and whoever takes the results may take their time.
    """

    def __init__(
        self,
        source: Source,
        models: Sequence[Model],
        settings: Settings,
        note: Callable[[str], None],
        listening: "socket.socket | None" = None,
        power: Power | None = None,
    ):
        """Open and take everything; nothing runs yet.

        Args:
            source: Where pictures come from.
            models: Loaded with `FLOOR` as their confidence, or less; the first runs first.
            settings: What becomes of the results.
            note: Is told what a person should know.
            listening: A socket to serve the page on; None: there is no page.
            power: A meter, which belongs to the demo from now on; None: there is none.

        Raises:
            YoloEdgeError: Something is not there.
        """
        self._settings, self._note = settings, note
        self._stack = ExitStack()
        self._begun = 0.0
        self._sinks: list[Sink] = []
        self._recorder: Recorder | None = None
        self._lines: JsonLines | None = None
        self._lamps: Lamps | None = None
        self.server: Server | None = None
        self.why = "it was stopped"  # as the page is told it
        self._counts = Counts(models, settings.confidence)
        if power is not None:
            self._stack.callback(power.close)
        try:
            if settings.gpio:
                self._lamps = Lamps(settings.gpio)
                self._stack.callback(self._lamps.close)
            self.workers = self._start_workers()
            self._watch = Watch(
                models,
                confidence=settings.confidence,
                on_after=settings.on_after,
                off_after=settings.off_after,
                every=settings.every,
                lamps=self._lamps,
                workers=self.workers,
                note=note,
            )
            self.reader = Reader(source, loop=settings.loop, note=note)
            self._stack.callback(self.reader.stop)
            self.batch = listening is None and not source.live
            self._fps = self._pace(source, listening is not None)
            sinks = self._sinks = [self._watch, self._counts]
            if settings.jsonl is not None:
                self._lines = JsonLines(
                    settings.jsonl, models, confidence=settings.confidence, every_frame=self.batch, note=note
                )
                self._stack.callback(self._lines.close)
                sinks.append(self._lines)
            if settings.save is not None:
                self._recorder = Recorder(
                    settings.save,
                    models,
                    confidence=settings.confidence,
                    live=source.live,
                    fps=self._fps or source.fps,
                    note=note,
                )
                self._stack.callback(self._recorder.close)
                sinks.append(self._recorder)
            self.inference = Inference(self.reader, models, sinks, self._watch.lost)
            if listening is not None:
                self._serve(listening, models, sinks)
            viewers = self.server
            self.status = Status(
                self.reader,
                self.inference,
                self._counts,
                lambda: self._watch.there,
                (lambda: viewers.viewers) if viewers is not None else (lambda: 0),
                power or (lambda: None),
            )
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Demo":
        """Begin."""
        try:
            if self.server is not None:
                self.server.start(self.status)
            self._stack.callback(self.status.stop)
            self._stack.callback(self.inference.stop)
            if self._lines is not None:
                self._stack.callback(self._lines.hurry)
            if self._lamps is not None:
                self._stack.callback(self._lamps.close)  # first of all: a camera that hangs can take its time
            self._begun = time.monotonic()
            self.status.start()
            self.reader.start(self._fps)
            self.inference.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End: the models first, then what they feed, then the page."""
        self._stack.close()

    def run(self, stop: threading.Event, tick: Callable[["Demo"], None] = lambda demo: None) -> None:
        """Wait until the source ends, or `stop` is set; `tick` is called four times a second.

        Raises:
            YoloEdgeError: It ended before its time.
        """
        while not stop.is_set() and not self.inference.done.wait(0.25):
            tick(self)
            if self._nobody_left():
                self._note("nothing is left to do")
                break
        if self.inference.done.is_set():
            self.why = "the source ended"
        if self.inference.error is not None:
            self.why = str(self.inference.error)
            raise self.inference.error

    def describe(self) -> str:
        """How it goes, for a person."""
        status = self.status.latest
        if not status:
            return "starting"
        if status["lost"]:
            return f"the source is lost: {status['lost']}"
        parts = [f"{status['fps']:.1f} frames a second"]
        if self.server is not None:
            viewers = self.server.viewers
            parts.append("nobody looks" if viewers == 0 else f"{viewers} look{'s' if viewers == 1 else ''}")
        if status["there"]:
            parts.append("there: " + ", ".join(status["there"][:4]))
        return " · ".join(parts)

    def summary(self) -> str:
        """What was done, for a person."""
        seconds = time.monotonic() - self._begun
        frames = self.inference.frames
        parts = [f"{_frames(frames)} in {seconds:.1f} s ({frames / max(seconds, 1e-9):.1f} a second)"]
        if self.reader.skipped:
            parts.append(f"{self.reader.skipped} came faster than the model could take them")
        if self._lines is not None and self._lines.left_out:
            parts.append(f"{self._lines.left_out} left out of --jsonl, whose reader was slow")
        if self._recorder is not None and self._recorder.problem is None:
            parts.append(f"{_frames(self._recorder.written)} in {self._recorder.path}")
        for worker in self.workers:
            lost = f", {worker.failed} failed" if worker.failed else ""
            lost += f", {worker.left_out} left out" if worker.left_out else ""
            parts.append(f"{worker.name}: {worker.done} done{lost}")
        if self.server is not None and self.server.refusals.count:
            parts.append(f"{self.server.refusals.count} requests refused")
        return "; ".join(parts)

    def _start_workers(self) -> list[Worker]:
        actions: list[tuple[str, Webhook | Program]] = []
        if self._settings.webhook is not None:
            actions.append(("--webhook", Webhook(self._settings.webhook)))
        if self._settings.command is not None:
            actions.append(("--exec", Program(self._settings.command)))
        workers = [Worker(name, action, self._note) for name, action in actions]
        for worker in workers:
            self._stack.callback(worker.close)
        return workers

    def _pace(self, source: Source, seen: bool) -> float | None:
        if self._settings.fps is not None:
            return self._settings.fps or None
        if source.live or not seen:
            return None
        return source.fps or (_PICTURES_FPS if isinstance(source, Pictures) else _USUAL_FPS)

    def _serve(self, listening: "socket.socket", models: Sequence[Model], sinks: list[Sink]) -> None:
        from yolo_edge.demo.server import Server  # noqa: PLC0415 - an extra that --no-view does without

        source = self.reader.source
        about = {
            "source": {"name": source.name, "live": source.live},
            "models": [_describe(model) for model in models],
            "confidence": self._settings.confidence,
            "floor": min(self._settings.confidence, FLOOR),
        }
        self.server = Server(
            listening,
            token=self._settings.token,
            inference=self.inference,
            counts=self._counts,
            about=about,
            confidence=self._settings.confidence,
            note=self._note,
        )
        server = self.server
        self._stack.callback(lambda: server.stop(self.why))
        sinks.append(server.publish)

    def _nobody_left(self) -> bool:
        """Whether the only one who took anything went away."""
        others = (self.server, self._recorder, self._settings.gpio, self.workers)
        return self._lines is not None and self._lines.closed.is_set() and not any(others)


def _frames(number: int) -> str:
    return f"{number} frame{'' if number == 1 else 's'}"


def usual_threads() -> int:
    """Of one inference: one less than there are CPUs, to leave room for reading and encoding."""
    return max(usable_cpus() - 1, 1)


def _describe(model: Model) -> dict[str, Any]:
    spec = model.detector.spec
    return {
        "name": model.name,
        "precision": spec.precision,
        "width": spec.input.width,
        "height": spec.input.height,
        "runtime": model.detector.runtime.name,
        "threads": model.detector.runtime.threads,
        "classes": list(spec.names),
    }
