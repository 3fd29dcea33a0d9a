"""The steps of a sweep: files, accuracies, times. Each finds out by itself what is done already."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from yolo_edge._version import __version__
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable, read_bytes, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yolo_edge.benchmarks.settings import Settings
    from yolo_edge.evaluation.parallel import Options
    from yolo_edge.evaluation.pool import Workers
    from yolo_edge.export.exporter import ExportOptions

RECORD = "sweep.json"
MODELS, RESULTS, WORK, ACCURACY = "models", "results", ".work", "accuracy.json"
_MAX_RECORD = 16 << 20

Progress = Callable[[str], None]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was made, or why it was not.

    Attributes:
        key: Of what it was made from, and how: the same key gives the same file.
        size: Width and height as asked for; None: the model's own.
        precision: Of the file.
        format: Of the file.
        name: Of the file; None where it failed.
        sha256: Of the file.
        failed: Why there is none: it does not compute what its source computes.
    """

    key: str
    size: tuple[int, int] | None
    precision: str
    format: str
    name: str | None = None
    sha256: str | None = None
    failed: str | None = None


class Record(msgspec.Struct, kw_only=True):
    """What a sweep's folder holds."""

    sweep: int = 1
    files: list[Exported] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What files to make.

    Attributes:
        model: The source.
        weights: Of a .cfg, where they are not beside it.
        folder: Of the sweep.
        options: How; formats, precisions and sizes are all combined.
        pictures: To verify with.
    """

    model: Path
    weights: Path | None
    folder: Path
    options: "ExportOptions"
    pictures: Sequence[Any] = ()


@contextmanager
def locked(folder: Path) -> "Iterator[None]":
    """Hold the folder of a sweep; two in one would write over each other.

    Raises:
        InputError: Another sweep runs there, or files cannot be written.
    """
    import fcntl

    from yolo_edge.ondevice.files import not_written

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise not_written(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another sweep runs there") from error
        yield


def read_record(folder: Path) -> Record:
    """What the folder holds; nothing where there is no record, or one of another version.

    Raises:
        InputError: It cannot be read.
    """
    path = folder / RECORD
    if not path.exists():
        return Record()
    try:
        return msgspec.json.decode(read_bytes(path, _MAX_RECORD), type=Record)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not the record of a sweep ({error}); without it all is made again") from error


def export_files(plan: Plan, progress: Progress) -> list[Exported]:
    """Make the files that are not there, one by one; each is recorded as soon as it is.

    A file that fails its verification is recorded as failed and the others are made; it is not tried again before
    something changes.

    Raises:
        InputError: The model or an option cannot be used.
    """
    from dataclasses import replace

    from yolo_edge.export.exporter import export, plan_name
    from yolo_edge.export.load import load_model
    from yolo_edge.export.verify import VerificationError

    record = read_record(plan.folder)
    models, options = plan.folder / MODELS, plan.options
    found = []
    for size in options.sizes:
        source = load_model(
            plan.model,
            weights=plan.weights,
            size=size,
            resize=options.resize,
            names=options.names,
            licence=options.licence,
            spec=options.spec,
            shapes_only=True,
        )
        shape = (source.spec.input.width, source.spec.input.height)
        for precision in options.precisions:
            for format_ in options.formats:
                key = _key(plan, size, precision, format_)
                what = f"{source.stem} at {shape[0]}x{shape[1]}, {precision}, {format_}"
                before = next((item for item in record.files if item.key == key and _is_there(models, item)), None)
                if before is not None:
                    progress(f"{what}: there")
                    found.append(before)
                    continue
                progress(what)
                one = replace(options, sizes=(size,), precisions=(precision,), formats=(format_,))
                made = Exported(key=key, size=size, precision=precision, format=format_)
                kept = models / plan_name(source.stem, shape)
                sibling = next(
                    (item for item in found if (item.size, item.precision) == (size, "int8") and item.name), None
                )
                if precision == "int8" and sibling is not None and kept.exists():
                    # both formats obey one plan; the one that was written with the first
                    one = replace(one, int8=replace(one.int8, pictures=(), plan=kept))
                try:
                    (file,) = export(plan.model, models, one, weights=plan.weights, pictures=plan.pictures).files
                except VerificationError as error:
                    made = msgspec.structs.replace(made, failed=printable(str(error)))
                else:
                    digest = hashlib.sha256(Path(file.path).read_bytes()).hexdigest()
                    made = msgspec.structs.replace(made, name=Path(file.path).name, sha256=digest)
                record.files = [item for item in record.files if item.key != key and item.name != (made.name or "")]
                record.files.append(made)
                write_atomically(plan.folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1))
                found.append(made)
    return found


def _is_there(models: Path, item: Exported) -> bool:
    if item.name is None:
        return True  # it failed, and would again
    path = models / Path(item.name).name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == item.sha256


def _key(plan: Plan, size: tuple[int, int] | None, precision: str, format_: str) -> str:
    """The same for the same source files, options and version."""
    options = plan.options
    given = plan.weights or plan.model.with_suffix(".weights")
    sources = [plan.model, *([given] if plan.model.suffix.lower() == ".cfg" else []), options.spec, options.int8.plan]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() if path and path.exists() else None for path in sources]
    int8 = options.int8
    calibration = [str(path) for path in int8.pictures] if precision == "int8" else []
    how = [options.head, options.input, options.resize, options.names, options.licence, options.output_type]
    settings = [int8.count, int8.seed, int8.ranges] if precision == "int8" else []
    content = [__version__, digests, size, precision, format_, how, calibration, settings]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


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

    def run(self, workers: "Workers", progress: Progress) -> None:
        """Run what is missing, and write the document.

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
        command: For the results.
        revision: For the results.
    """

    device: str
    batches: Sequence[Sequence[Path]]
    settings: "Settings"
    folder: Path
    command: Sequence[str] = ()
    revision: str | None = None

    def run(self, stop: threading.Event, progress: Progress) -> list[Path]:
        """Measure what is not measured yet; a killed run goes on.

        Args:
            stop: Ends it at the next step; finished repeats are kept.
            progress: Called before each step.

        Returns:
            The results, one a batch.

        Raises:
            StoppedError: `stop` was set.
            InputError: A model cannot be used there.
            YoloEdgeError: The device failed.
        """
        from yolo_edge.benchmarks.benchmark import Benchmark, save
        from yolo_edge.benchmarks.journal import Journal

        def step(what: str) -> None:
            if stop.is_set():
                raise StoppedError(f"{self.device}: stopped")
            progress(what)

        results = []
        for files in self.batches:
            with ExitStack() as stack:
                target = stack.enter_context(open_target(self.device))
                subjects = target.prepare(files, self.settings)
                there = self._find(subjects)
                if there is not None:
                    step(f"{self.device}: {len(files)} files are measured")
                    results.append(there)
                    continue
                step(f"{self.device}: looking at the machine")
                plan = Benchmark(
                    subjects,
                    self.settings,
                    target.connect,
                    device=self.device,
                    revision=self.revision,
                    command=self.command,
                )
                journal = stack.enter_context(Journal(self.folder / RESULTS, plan.key))
                results.append(save(plan.run(journal, lambda what: step(f"{self.device}: {what}")), journal))
        return results

    def _find(self, subjects: Sequence[Any]) -> Path | None:
        """The result of these files with these settings on this device, if there is one.

        The result itself says what it is of: a run that was killed between writing it and taking note of that is not
        measured twice.
        """
        from yolo_edge.benchmarks.results import read_result

        wanted = [(item.sha256, threads) for item in subjects for threads in self.settings.threads]
        for path in sorted((self.folder / RESULTS).glob("benchmark-*.json")):
            try:
                result = read_result(path)
            except InputError:
                continue
            cells = [(cell.sha256, cell.threads) for cell in result.cells]
            same = all(cell.device == self.device for cell in result.cells)
            if cells == wanted and same and result.settings == self.settings:
                return path
        return None


@dataclass(frozen=True)
class Target:
    """A device that can be asked.

    Attributes:
        connect: Starts an agent there.
        prepare: Files and settings → what is measured, where it lies there.
    """

    connect: Callable[[str], Any]
    prepare: Callable[[Sequence[Path], Any], Sequence[Any]]


def open_target(device: str) -> "AbstractContextManager[Target]":
    """A device by its name.

    Raises:
        InputError: It is not known.
    """
    from contextlib import nullcontext

    from yolo_edge.cli.subjects import find_subjects
    from yolo_edge.devices.agents import AgentProcess, local_command

    check_device(device)

    def prepare(files: Sequence[Path], settings: "Settings") -> Sequence[Any]:
        return find_subjects(
            files,
            Path(),
            weights=None,
            names=None,
            resize=None,
            runtime=settings.runtime,
            threads=settings.threads,
        )

    return nullcontext(Target(lambda what: AgentProcess(local_command(), what), prepare))


def check_device(device: str) -> None:
    """Check that a device can be measured.

    Raises:
        InputError: It is not known.
    """
    if device != "local":
        raise InputError(f"device {device}: there is only local, this machine; boards and phones are to come")
