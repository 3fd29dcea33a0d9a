"""Make the scenes, call the commands one after another, and put what they gave on a page."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import check_output_folder, not_written, write_atomically
from yolo_edge.quickstart.page import write_page
from yolo_edge.quickstart.steps import FILES, MODEL, PARTS, PICTURES, SCENES, Step, report, steps
from yolo_edge.sample import CFG, NAMES
from yolo_edge.sample.scenes import write_dataset

COMMANDS = "commands.txt"
_WAIT = 10  # seconds for a command to clean up after itself

Tell = Callable[[str], None]
Track = Callable[[Iterable[Path], str, int], Iterable[Path]]


@dataclass(frozen=True)
class Outcome:
    """What the commands measured of one file.

    Attributes:
        path: Of the file.
        bytes: Its size.
        mAP50: At IoU 0.50, a fraction.
        mAP50_95: At IoU 0.50 to 0.95, a fraction.
        agreement: Its detections against those of the source, AP at IoU 0.50.
        p50_ms: Median latency, one thread, without preparing the picture.
        p90_ms: Nine of ten are faster.
        valid: Whether the benchmark found the machine calm enough.
    """

    path: str
    bytes: int
    mAP50: float  # noqa: N815 - the key of `validate --json`
    mAP50_95: float  # noqa: N815 - the key of `validate --json`
    agreement: float | None
    p50_ms: float | None
    p90_ms: float | None
    valid: bool


@dataclass(frozen=True)
class Summary:
    """All that the quickstart did.

    Attributes:
        folder: Where it is.
        page: The page that shows it.
        files: A row a file.
        commands: As they were called, in the folder.
        seconds: That it took.
        invalid_reason: Why the times are not to be trusted, where they are not.
    """

    folder: str
    page: str
    files: tuple[Outcome, ...]
    commands: tuple[str, ...]
    seconds: float
    invalid_reason: str | None


def run(folder: Path, tell: Tell, track: Track) -> Summary:
    """The whole way.

    Args:
        folder: Made where it is missing; of an earlier quickstart it is written anew.
        tell: Called with a line on what happens next.
        track: Shows how far the scenes are: (items, what, how many) → the same items.

    Raises:
        InputError: The folder holds something else, or cannot be written.
        YoloEdgeError: A command failed; it has said why.
    """
    begun = time.monotonic()
    _prepare(folder)
    called: list[Step] = []
    pictures = _make_scenes(folder, tell, track)

    def call(step: Step) -> Any:
        tell(_shortened(step))
        called.append(step)
        return _call(step, folder)

    found = {step.name: call(step) for step in steps(pictures)}
    result = _newest(folder / "results")
    call(report(f"results/{result.name}"))
    commands = tuple(step.command for step in called)
    write_atomically(folder / COMMANDS, "".join(f"{line}\n" for line in commands).encode())
    outcomes = tuple(_outcome(file, found) for file in FILES)
    cells = found["benchmark"]["cells"]
    reasons = {reason for cell in cells if not cell["valid"] for reason in (cell["invalid_reason"] or "").split("; ")}
    summary = Summary(
        folder=str(folder),
        page=str(folder / "index.html"),
        files=outcomes,
        commands=commands,
        seconds=round(time.monotonic() - begun, 1),
        invalid_reason="; ".join(sorted(filter(None, reasons))[:2]) or None,
    )
    write_page(folder, summary, called, found, [Path(picture).stem for picture in pictures])
    return summary


def _prepare(folder: Path) -> None:
    """Make the folder, with the model in it.

    Raises:
        InputError: It cannot be made, or has files that are not ours.
    """
    check_output_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MODEL).is_file():
        raise InputError(f"{folder}: holds other files; name a new folder")
    try:
        (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error) from error
    for source in (CFG, CFG.with_suffix(".weights"), NAMES):
        write_atomically((folder / MODEL).with_name(source.name), source.read_bytes())
    for old in ("out", "results", "pictures", SCENES):
        shutil.rmtree(folder / old, ignore_errors=True)


def _make_scenes(folder: Path, tell: Tell, track: Track) -> tuple[str, ...]:
    """Write the scenes; paths of some that have codes, relative to the folder."""
    total = sum(part.count for parts in PARTS.values() for part in parts)
    tell(f"{total} scenes: labelled pictures of codes, made from a seed")
    written = write_dataset(folder / SCENES, PARTS, workers=min(2, os.cpu_count() or 1))
    shown = [path for path in track(written, "scenes", total) if path.parent.name == "val" and _has_codes(path)]
    return tuple(path.relative_to(folder).as_posix() for path in shown[:PICTURES])


def _has_codes(picture: Path) -> bool:
    labels = picture.parents[2] / "labels" / picture.parent.name / f"{picture.stem}.txt"
    return labels.stat().st_size > 0


def _shortened(step: Step) -> str:
    """The command for a terminal: many files as the pattern that they share."""
    words = list(dict.fromkeys(_pattern(word) for word in step.arguments))
    return " ".join(("yolo-edge", *words))


def _pattern(word: str) -> str:
    path = Path(word)
    return f"{path.parent.as_posix()}/*{path.suffix}" if path.suffix in (".onnx", ".tflite", ".jpg") else word


def _call(step: Step, folder: Path) -> Any:
    """Run a command in the folder; what it printed.

    Raises:
        YoloEdgeError: It failed.
    """
    program = [sys.executable, "-m", "yolo_edge", *step.arguments]
    # a session of its own: Ctrl-C reaches us alone, also while the command is only starting
    with subprocess.Popen(  # noqa: S603 - ours
        program, cwd=folder, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate()
        except BaseException:  # the command cleans up, then we go
            process.terminate()
            try:
                process.wait(_WAIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise YoloEdgeError(f"`{step.name}` failed with exit code {process.returncode}; it says why above")
    write_atomically(folder / step.keep, printed)
    return json.loads(printed)


def _newest(folder: Path) -> Path:
    return max(folder.glob("benchmark-*.json"), key=lambda file: file.stat().st_mtime_ns)


def _outcome(file: str, found: dict[str, Any]) -> Outcome:
    exported = next(row for row in found["export"] if Path(row["path"]).name == Path(file).name)
    judged = next(row for row in found["validate"] if row["model"] == file)
    cell = next(cell for cell in found["benchmark"]["cells"] if cell["model"] == file)
    latency = cell["latency_ms"] or {}
    return Outcome(
        path=file,
        bytes=exported["bytes"],
        mAP50=judged["mAP50"],
        mAP50_95=judged["mAP50_95"],
        agreement=exported["agreement"],
        p50_ms=latency.get("p50"),
        p90_ms=latency.get("p90"),
        valid=cell["valid"],
    )
