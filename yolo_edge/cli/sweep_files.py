"""The files of a sweep: which there are to be, and which are there."""

import fcntl
import hashlib
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from yolo_edge._version import __version__
from yolo_edge.export.provenance import sha256
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import not_written, printable, read_bytes, write_atomically
from yolo_edge.ondevice.names import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yolo_edge.export.job import ExportOptions

RECORD = "sweep.json"
MODELS = "models"
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

    sweep: Literal[1] = 1
    files: list[Exported] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What files to make.

    Attributes:
        model: The source.
        weights: Of a .cfg, where they are not beside it.
        folder: Of the sweep.
        options: How; formats, precisions and sizes are all combined.
    """

    model: Path
    weights: Path | None
    folder: Path
    options: "ExportOptions"


@contextmanager
def locked(folder: Path) -> "Iterator[None]":
    """Hold the folder of a sweep; two in one would write over each other.

    Raises:
        InputError: Another sweep runs there, or files cannot be written.
    """
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
    """What the folder holds; nothing where there is no record.

    Raises:
        InputError: It cannot be read, or is of another version.
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
    from yolo_edge.export.exporter import export
    from yolo_edge.export.job import PLANNED, plan_name
    from yolo_edge.export.load import load_model
    from yolo_edge.export.verify import VerificationError

    record, sources = read_record(plan.folder), _digests(plan)
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
                key = _key(plan, sources, size, precision, format_)
                what = f"{source.stem} at {shape[0]}x{shape[1]}, {precision}, {format_}"
                before = next((item for item in record.files if item.key == key and _is_there(models, item)), None)
                if before is not None:
                    progress(f"{what}: there")
                    found.append(before)
                    continue
                progress(what)
                one = replace(options, sizes=(size,), precisions=(precision,), formats=(format_,))
                made = Exported(key=key, size=size, precision=precision, format=format_)
                kept = models / plan_name(source.stem, shape, precision)
                sibling = next(
                    (item for item in found if (item.size, item.precision) == (size, precision) and item.name), None
                )
                if precision in PLANNED and sibling is not None and kept.exists():
                    # both formats obey one plan; the one that was written with the first
                    one = replace(one, int8=replace(one.int8, pictures=(), plan=kept))
                try:
                    (file,) = export(plan.model, models, one, weights=plan.weights).files
                except VerificationError as error:
                    made = msgspec.structs.replace(made, failed=printable(str(error)))
                else:
                    path = Path(file.path)
                    made = msgspec.structs.replace(made, name=path.name, sha256=sha256(path))
                record.files = [item for item in record.files if item.key != key and item.name != (made.name or "")]
                record.files.append(made)
                write_atomically(plan.folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1))
                found.append(made)
    return found


def _is_there(models: Path, item: Exported) -> bool:
    if item.name is None:
        return True  # it failed, and would again
    path = models / Path(item.name).name
    return path.is_file() and sha256(path) == item.sha256


def _digests(plan: Plan) -> list[str | None]:
    """Of the files that all is made from; None for what is not given."""
    options = plan.options
    weights = (plan.weights or plan.model.with_suffix(".weights")) if plan.model.suffix.lower() == ".cfg" else None
    names = None if options.names in (None, *NAMES) else Path(str(options.names))
    files = [plan.model, weights, options.spec, options.int8.plan, names]
    return [sha256(path) if path is not None and path.is_file() else None for path in files]


def _key(plan: Plan, sources: Sequence[str | None], size: tuple[int, int] | None, precision: str, format_: str) -> str:
    """The same for the same source files, options and version."""
    from yolo_edge.evaluation.parallel import stamp
    from yolo_edge.export.job import PLANNED

    options = plan.options
    int8 = options.int8
    calibration = [(str(path), stamp(path)) for path in int8.pictures] if precision in PLANNED else []
    how = [options.head, options.input, options.resize, options.names, options.licence, options.output_type]
    settings = [int8.count, int8.seed, int8.ranges] if precision in PLANNED else []
    content = [__version__, sources, size, precision, format_, how, calibration, settings]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
