"""What a sweep measures: accuracies and times. Each finds out by itself what is done already."""

import hashlib
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from yolo_edge._version import __version__
from yolo_edge.cli.sweep_files import Progress
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable, write_atomically

if TYPE_CHECKING:
    from yolo_edge.benchmarks.settings import Settings
    from yolo_edge.evaluation.parallel import Options
    from yolo_edge.evaluation.pool import Workers

RESULTS, WORK, ACCURACY = "results", ".work", "accuracy.json"


@dataclass(frozen=True)
class Accuracies:
    """What accuracies to find.

    Attributes:
        models: The files, with their SHA-256; the first is what the others are compared with.
        data: The dataset, as the user named it.
        split: Of it.
        images: The folder of its pictures.
        skip_bad: Leave out what cannot be used.
        options: Of the detectors.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    models: Sequence[tuple[Path, str]]
    data: Path
    split: str | None
    images: Path | None
    skip_bad: bool
    options: "Options"
    resamples: int = 1000
    seed: int = 0


@dataclass
class AccuracyWork:
    """Accuracies that are being found: divided, and then run somewhere."""

    plan: Accuracies
    folder: Path
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        from yolo_edge.datasets import read_dataset
        from yolo_edge.evaluation.parallel import ChunkedWork
        from yolo_edge.evaluation.validation import Validated, check_labels, match_models
        from yolo_edge.ondevice.detector import Detector

        plan = self.plan
        self._dataset = read_dataset(plan.data, split=plan.split, images=plan.images, skip_bad=plan.skip_bad)
        self._models = [
            Validated(str(path), sha256, Detector(path, runtime=plan.options.runtime, threads=1).spec)
            for path, sha256 in plan.models
        ]
        self._classes = match_models(self._models, self._dataset)
        check_labels(self._dataset, self._classes)
        self.notes += [*self._classes.remarks, *self._dataset.notes, *self._dataset.skipped]
        self.target = self.folder / RESULTS / ACCURACY
        self._wanted = hashlib.sha256(
            msgspec.json.encode(
                [
                    __version__,
                    [(sha256, str(path)) for path, sha256 in plan.models],
                    str(plan.data),
                    plan.split,
                    _digest(self._dataset),
                    plan.options,
                    plan.resamples,
                    plan.seed,
                ]
            )
        ).hexdigest()
        self._work = ChunkedWork(plan.models, self._dataset, plan.options, self.folder / WORK)

    @property
    def done(self) -> bool:
        """Whether the document is there, and is of these models, pictures and settings."""
        if not self.target.is_file():
            return False
        try:
            document = msgspec.json.decode(self.target.read_bytes())
            return bool(document) and all(item["settings"].get("key") == self._wanted for item in document)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, OSError):
            return False

    @property
    def missing(self) -> int:
        """Chunks to be run."""
        return 0 if self.done else self._work.missing

    @property
    def chunks(self) -> int:
        """All of them."""
        return self._work.chunks

    def run(self, workers: "Workers", progress: Progress, threads: int = 1) -> None:
        """Run what is missing, and write the document.

        Args:
            workers: What detects.
            progress: Called after each chunk.
            threads: Of this process, for the intervals.

        Raises:
            InputError: A picture or a model cannot be used.
            YoloEdgeError: The work failed; what was done is kept.
        """
        from yolo_edge.evaluation.validation import assess, check_labels, run_settings

        if self.done:
            self._work.forget()
            return
        plan = self.plan
        self._work.run(workers, progress)
        run = self._work.collect(plan.skip_bad)
        check_labels(run.dataset, self._classes)
        self.notes += run.skipped
        limits = (plan.options.confidence, plan.options.iou, plan.options.max_detections)
        settings = [
            {
                **run_settings(model.spec, *limits),
                "data": printable(str(plan.data)),
                "split": plan.split,
                "fast": plan.options.fast,
                "key": self._wanted,
            }
            for model in self._models
        ]
        document = assess(
            self._models,
            run.dataset,
            self._classes,
            run.found,
            run.milliseconds,
            settings,
            resamples=plan.resamples,
            seed=plan.seed,
            threads=threads,
        )
        write_atomically(self.target, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
        self._work.forget()


def _digest(dataset: Any) -> str:
    """Of labels and the names of pictures."""
    found = hashlib.sha256("\n".join(map(str, dataset.paths)).encode("utf-8", "surrogateescape"))
    for array in (dataset.image, dataset.class_id, dataset.xyxy, dataset.area, dataset.crowd, dataset.difficult):
        found.update(array.tobytes())
    found.update("\n".join(dataset.names).encode("utf-8", "surrogateescape"))
    return found.hexdigest()


class StoppedError(YoloEdgeError):
    """The sweep ends: another part of it failed, or a person ended it."""


@dataclass(frozen=True)
class Timing:
    """What to time on one device.

    Attributes:
        device: Its name.
        batches: Files that are measured side by side, as many as fit into memory together.
        settings: How.
        folder: Of the sweep.
        inventory: The file that names the devices; None: the usual one.
        command: For the results.
        revision: For the results.
        results: One a batch, as soon as it is there.
    """

    device: str
    batches: Sequence[Sequence[Path]]
    settings: "Settings"
    folder: Path
    inventory: Path | None = None
    command: Sequence[str] = ()
    revision: str | None = None
    results: list[Path] = field(default_factory=list)

    def run(self, stop: threading.Event, progress: Progress) -> None:
        """Measure what is not measured yet; a killed run goes on.

        Args:
            stop: Ends it at the next step; finished repeats are kept.
            progress: Called before each step.

        Raises:
            StoppedError: `stop` was set.
            InputError: A model cannot be used there.
            YoloEdgeError: The device failed.
        """
        from yolo_edge.benchmarks.benchmark import Benchmark, save
        from yolo_edge.benchmarks.journal import Journal
        from yolo_edge.cli.subjects import find_subjects
        from yolo_edge.devices.inventory import LOCAL, find_device
        from yolo_edge.devices.session import session_on

        def step(what: str) -> None:
            if stop.is_set():
                raise StoppedError(f"{self.device}: stopped")
            progress(what)

        entry = find_device(self.device, self.inventory)
        for files in self.batches:
            subjects = find_subjects(
                files,
                Path(),
                weights=None,
                names=None,
                resize=None,
                runtime=self.settings.runtime,
                threads=self.settings.threads or (1,),
                here=self.device == LOCAL,
            )
            with ExitStack() as stack:
                there = self._find(subjects)
                if there is not None:
                    step(f"{self.device}: {len(files)} files are measured")
                    self.results.append(there)
                    continue
                step(f"{self.device}: looking at the machine")
                plan = Benchmark(
                    subjects,
                    self.settings,
                    stack.enter_context(session_on(self.device, entry)),
                    device=self.device,
                    emulated=entry.emulated,
                    revision=self.revision,
                    command=self.command,
                )
                journal = stack.enter_context(Journal(self.folder / RESULTS, plan.key))
                self.results.append(save(plan.run(journal, lambda what: step(f"{self.device}: {what}")), journal))

    def _find(self, subjects: Sequence[Any]) -> Path | None:
        """The result of these files with these settings on this device, if there is one.

        The result itself says what it is of: a run that was killed between writing it and taking note of that is not
        measured twice.
        """
        from yolo_edge.benchmarks.result_file import read_result

        # threads that were left to the device are those of the result
        wanted = {(item.sha256, threads) for item in subjects for threads in self.settings.threads or (0,)}
        for path in sorted((self.folder / RESULTS).glob("benchmark-*.json")):
            try:
                result = read_result(path)
            except InputError:
                continue
            left = not self.settings.threads
            cells = {(cell.sha256, 0 if left else cell.threads) for cell in result.cells}
            same = all(cell.device == self.device for cell in result.cells)
            how = msgspec.structs.replace(result.settings, threads=()) if left else result.settings
            if cells == wanted and same and how == self.settings:
                return path
        return None
