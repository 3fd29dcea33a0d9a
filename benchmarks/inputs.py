"""What a user named: results of benchmarks and accuracies, as files or as folders that hold both."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yolo_edge.benchmarks.accuracy import Accuracy, parse_accuracy
from yolo_edge.benchmarks.result_file import MAX_BYTES, parse_result
from yolo_edge.benchmarks.results import BenchmarkResult
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_bytes, reason

_MOST_FILES = 100_000  # of a folder: a wrong one is found out before all of it is read


@dataclass
class Inputs:
    """What was found.

    Attributes:
        results: Of `yolo-edge benchmark`, in the order of their files.
        accuracies: Of `yolo-edge validate --json`.
        ignored: JSON files in folders that are neither.
    """

    results: list[BenchmarkResult] = field(default_factory=list)
    accuracies: list[Accuracy] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read results and accuracies.

    Args:
        paths: Files of either kind, and folders; of a folder the .json files in it, not those of folders in it. What is
            neither is passed over there; named by itself it is an error.

    Raises:
        InputError: A file is neither, or damaged; or there is no result.
    """
    found = Inputs()
    read: set[Path] = set()
    for path in paths:
        inside = _json_files(path)
        for file in [path] if inside is None else inside:
            if file.resolve() not in read:
                read.add(file.resolve())
                _read(file, found, named=inside is None)
    if not found.results:
        raise InputError(f"{', '.join(map(str, paths))}: no result of `yolo-edge benchmark -o DIR`")
    return found


def on_one_dataset(accuracies: Iterable[Accuracy], data: str | None = None) -> tuple[list[Accuracy], list[str]]:
    """Those that can be compared: measured on the same pictures.

    Args:
        accuracies: All.
        data: Keep those of this dataset, named as to `validate`; None: of that which most were measured on.

    Returns:
        Them, and what others were measured on, each once.
    """
    listed = list(accuracies)
    if data is not None:
        kept = [item for item in listed if item.settings.data == data]
    else:
        most = Counter(item.on for item in listed).most_common(1)
        kept = [item for item in listed if item.on == most[0][0]]
    used = {item.on for item in kept}
    return kept, list(dict.fromkeys(item.on for item in listed if item.on not in used))


def _json_files(path: Path) -> list[Path] | None:
    """Those of a folder; None where it is none."""
    try:
        if not path.is_dir():
            return None
        files = sorted(child for child in path.iterdir() if child.suffix.lower() == ".json" and child.is_file())
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error
    if len(files) > _MOST_FILES:
        raise InputError(f"{path}: {len(files)} .json files: not a folder of results")
    return files


def _read(path: Path, found: Inputs, *, named: bool) -> None:
    data = read_bytes(path, MAX_BYTES)
    beginning = data.lstrip()[:1]
    if beginning == b"[":
        try:
            found.accuracies += parse_accuracy(data, path)
        except InputError:
            if named:
                raise
            found.ignored.append(path)
    elif beginning == b"{" and (named or b'"cells"' in data):
        found.results.append(parse_result(data, path))
    elif named:
        raise InputError(f"{path}: neither a result of `yolo-edge benchmark` nor a document of `validate --json`")
    else:
        found.ignored.append(path)
