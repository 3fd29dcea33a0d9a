"""What commands that measure share: options, the settings that they make, a run that goes on where it was killed."""

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.options import path, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from yolo_edge.benchmarks.benchmark import Benchmark
    from yolo_edge.benchmarks.results import BenchmarkResult
    from yolo_edge.benchmarks.settings import Settings

_PROFILED_INFERENCES = 100

Subjects = Annotated[
    list[Path],
    typer.Argument(
        help="Exported files, or darknet .cfg files; the first is what the others are compared with.",
        metavar="MODEL",
        show_default=False,
        parser=path,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A folder for the result; there a killed run goes on when it is called again.",
        show_default=False,
        parser=path,
    ),
]
ThreadList = Annotated[
    str | None,
    typer.Option(
        help="With commas between. Default: 1, and as many as the device has CPUs, up to 4.",
        metavar="LIST",
        show_default=False,
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="A few seconds a cell, and the result is labelled so.")]
Image = Annotated[
    Path | None,
    typer.Option(help="The picture to start from. Default: a synthetic one.", show_default=False, parser=path),
]
Seconds = Annotated[
    float | None, typer.Option(help="Measured a cell, at least. Default: 60; quick 3.", show_default=False)
]
Inferences = Annotated[
    int | None, typer.Option(help="Measured a cell, at least. Default: 1024; quick 1.", show_default=False)
]
Repeats = Annotated[
    int | None,
    typer.Option(help="Of all, each with new workers. Default: 10; quick 12.", show_default=False),
]
Cooldown = Annotated[
    float | None, typer.Option(help="Seconds of rest between repeats. Default: 2; quick 0.", show_default=False)
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew where a killed run could go on.")]
Csv = Annotated[Path | None, typer.Option(help="A file for a row a cell, too.", show_default=False, parser=path)]


def make_settings(
    *,
    quick: bool,
    threads: str | None,
    image: Path | None,
    seconds: float | None,
    inferences: int | None,
    repeats: int | None,
    cooldown: float | None,
    runtime: str = "auto",
    fast: bool = False,
    pin: bool = True,
    profile: bool = False,
    roof: bool = False,
    energy: bool = False,
    meter: str | None = None,
) -> "Settings":
    """The settings that options say.

    Raises:
        InputError: One is out of its range, or the picture cannot be used.
    """
    import hashlib
    import math

    from msgspec.structs import replace

    from yolo_edge.benchmarks.settings import Settings, quick_settings, with_energy
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.images import read_image

    limits = {
        "--seconds": (seconds, 0.01, 86400),
        "--inferences": (inferences, 1, 10_000_000),
        "--repeats": (repeats, 1, 1000),
        "--cooldown": (cooldown, 0, 3600),
    }
    for option, (value, low, high) in limits.items():
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"{option} {value}: expected {low}..{high}")
    digest = None
    if image is not None:
        read_image(image)
        digest = hashlib.sha256(image.read_bytes()).hexdigest()
    base = quick_settings() if quick else Settings()
    if energy or meter is not None:
        base = with_energy(base, meter)
    given = {"seconds": seconds, "inferences": inferences, "repeats": repeats, "cooldown_s": cooldown}
    return replace(
        base,
        threads=_threads(threads),
        runtime=runtime,
        fast=fast,
        image=None if image is None else str(image.absolute()),
        image_sha256=digest,
        pin=pin,
        profile=_PROFILED_INFERENCES if profile else 0,
        roof_s=base.peak_s if roof else 0.0,
        **{name: value for name, value in given.items() if value is not None},
    )


def _threads(text: str | None) -> tuple[int, ...]:
    """Nothing where it is left to the machine that is measured."""
    from yolo_edge.ondevice.errors import InputError

    if text is None:
        return ()
    numbers = split(text, "threads")
    for number in numbers:
        if not (number.isascii() and number.isdigit() and len(number) <= 4 and 1 <= int(number) <= 1024):
            raise InputError(f"--threads {number!r}: expected numbers from 1 to 1024 between commas")
    return tuple(dict.fromkeys(map(int, numbers)))


def run_and_keep(
    stack: ExitStack,
    plan: "Benchmark",
    output: Path | None,
    *,
    restart: bool,
    tell: "Callable[[str, int, int], None]" = lambda what, done, total: None,
) -> "tuple[BenchmarkResult, Path | None]":
    """Run what a journal in a folder lacks, and write the result there.

    Args:
        stack: Holds the journal until the caller is done.
        plan: What to run.
        output: The folder; None: nothing is kept.
        restart: Forget what a killed run measured.
        tell: Called before each step with what it does, how many were done before, and how many there are.

    Returns:
        The result, and its file.

    Raises:
        YoloEdgeError: A worker failed; what was measured is kept.
    """
    from yolo_edge.benchmarks.benchmark import save
    from yolo_edge.benchmarks.journal import Journal
    from yolo_edge.cli.output import note, steps
    from yolo_edge.ondevice.errors import YoloEdgeError

    journal = stack.enter_context(Journal(output, plan.key, restart=restart)) if output is not None else None
    done = len(journal.repeats) if journal else 0
    repeats = plan.settings.repeats
    if journal and done:
        note(f"going on with a run of {journal.created}: {done} of {repeats} repeats are there (--restart)")
    total = plan.steps(done)
    try:
        with steps(total) as advance:
            numbers = itertools.count()

            def progress(what: str) -> None:
                advance(what)
                tell(what, next(numbers), total)

            result = plan.run(journal, progress)
    except (KeyboardInterrupt, YoloEdgeError):
        if journal and journal.repeats:
            note(f"{len(journal.repeats)} of {repeats} repeats are kept: the same command goes on from there")
        raise
    return result, save(result, journal) if journal else None
