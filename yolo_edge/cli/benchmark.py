"""`yolo-edge benchmark`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.measuring import (
    Cooldown,
    Csv,
    Image,
    Inferences,
    Output,
    Quick,
    Repeats,
    Restart,
    Seconds,
    Subjects,
    ThreadList,
    make_settings,
    run_and_keep,
)
from yolo_edge.cli.options import (
    DeviceName,
    Fast,
    InventoryFile,
    Json,
    Names,
    Resize,
    Sizes,
    Weights,
    check_resize,
    path,
    sizes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_edge.benchmarks.metering import Choice
    from yolo_edge.benchmarks.results import BenchmarkResult, Cell
    from yolo_edge.benchmarks.rounds import Subject
    from yolo_edge.benchmarks.settings import Settings
    from yolo_edge.devices.inventory import Entry


def benchmark(
    models: Subjects,
    output: Output = None,
    threads: ThreadList = None,
    quick: Quick = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Energy of an inference, too, by a power meter; longer turns.")
    ] = False,
    meter: Annotated[
        str | None,
        typer.Option(
            help="Which meter, where there are several, or the file of another (docs/energy.md).",
            metavar="KIND|csv:FILE",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = "local",
    inventory: InventoryFile = None,
    runtime: Annotated[
        str, typer.Option(help="auto, onnxruntime, openvino, opencv or tflite; all: what is there and runs the file.")
    ] = "auto",
    fast: Fast = False,
    image: Image = None,
    seconds: Seconds = None,
    inferences: Inferences = None,
    repeats: Repeats = None,
    cooldown: Cooldown = None,
    pin: Annotated[
        bool, typer.Option("--pin/--no-pin", help="Keep to the fastest kind of CPUs, where they differ.")
    ] = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time by operator, too (onnxruntime, benchmark_model).")
    ] = False,
    roof: Annotated[
        bool, typer.Option("--roof", help="How fast memory is copied and int8 multiplied, too: the report's roofline.")
    ] = False,
    benchmark_model: Annotated[
        Path | None,
        typer.Option(
            "--benchmark-model",
            help="TFLite's native tool, built for the device: phones by adb, and whatever has no Python (.tflite).",
            metavar="PROGRAM",
            show_default=False,
            parser=path,
        ),
    ] = None,
    restart: Restart = False,
    csv: Csv = None,
    weights: Weights = None,
    size: Sizes = None,
    resize: Resize = None,
    names: Names = None,
    json: Json = False,
) -> None:
    """Measure latency and memory of models side by side."""
    from contextlib import ExitStack

    from yolo_edge.benchmarks.benchmark import Benchmark
    from yolo_edge.benchmarks.metering import check_recording
    from yolo_edge.cli.output import note, steps
    from yolo_edge.cli.provenance import command_line, git_revision
    from yolo_edge.cli.report import check_output_file
    from yolo_edge.cli.subjects import find_subjects
    from yolo_edge.devices.inventory import LOCAL, find_device
    from yolo_edge.devices.scratch import scratch_folder
    from yolo_edge.devices.session import session_on
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import check_output_folder

    entry = find_device(device, inventory)
    if benchmark_model is None and entry.url.startswith("adb:"):
        raise InputError(
            f"{device}: by adb models are run by TFLite's native tool: --benchmark-model PROGRAM (docs/phones.md)"
        )
    check_resize(resize)
    if output is not None:
        check_output_folder(output)
    if csv is not None:
        check_output_file(csv)
    settings = make_settings(
        quick=quick,
        threads=threads,
        runtime=runtime,
        fast=fast,
        image=image,
        seconds=seconds,
        inferences=inferences,
        repeats=repeats,
        cooldown=cooldown,
        pin=pin,
        profile=profile,
        roof=roof,
        energy=energy,
        meter=meter,
    )
    if output is None:
        check_recording(meter)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        subjects = find_subjects(
            models,
            folder,
            weights=weights,
            names=names,
            resize=resize,
            runtime=_to_look_at(runtime) if benchmark_model is None else "tflite",
            threads=settings.threads or (1,),
            sizes=sizes(size),
            here=device == LOCAL and benchmark_model is None,
        )
        if benchmark_model is not None:
            result, written = _measure_natively(subjects, settings, device, entry, benchmark_model, output)
            show_result(result, written, json=json, csv=csv)
            return
        connect = stack.enter_context(session_on(device, entry))
        with steps(None) as advance:
            plan = Benchmark(
                subjects,
                settings,
                connect,
                device=device,
                emulated=entry.emulated,
                revision=git_revision(),
                command=command_line(),
                progress=advance,
            )
        for one in plan.left_out:
            note(f"left out: {one.model} in {one.runtime}: {one.reason}")
        if settings.energy:
            _announce(plan.meter)
        result, written = run_and_keep(stack, plan, output, restart=restart)
    show_result(result, written, json=json, csv=csv)


def _to_look_at(runtime: str) -> str:
    """The runtime that a model is looked at with, before those that are to be measured."""
    from yolo_edge.benchmarks.settings import ALL

    return "auto" if runtime == ALL else runtime


def _measure_natively(
    subjects: "Sequence[Subject]",
    settings: "Settings",
    device: str,
    entry: "Entry",
    tool: Path,
    output: Path | None,
) -> "tuple[BenchmarkResult, Path | None]":
    """Measure with `benchmark_model`; a run that is killed keeps nothing."""
    from contextlib import ExitStack

    from yolo_edge.benchmarks.benchmark import save
    from yolo_edge.benchmarks.journal import Journal
    from yolo_edge.benchmarks.native import NativeBenchmark
    from yolo_edge.cli.output import note, steps
    from yolo_edge.cli.provenance import command_line, git_revision
    from yolo_edge.devices.transports import open_device

    with ExitStack() as stack:
        there = stack.enter_context(open_device(device, entry))
        plan = NativeBenchmark(
            subjects,
            settings,
            there,
            tool,
            name=device,
            emulated=entry.emulated,
            revision=git_revision(),
            command=command_line(),
        )
        if settings.energy:
            note(f"energy: {plan.meter if isinstance(plan.meter, str) else plan.meter.kind + ' is read'}")
        journal = stack.enter_context(Journal(output, plan.key)) if output is not None else None
        with steps(plan.steps) as advance:
            result = plan.run(advance)
        return result, save(result, journal) if journal else None


def show_result(result: "BenchmarkResult", written: Path | None, *, json: bool, csv: Path | None) -> None:
    """Print a result, and say where it is kept."""
    from yolo_edge.benchmarks.results import without_samples
    from yolo_edge.benchmarks.table import to_csv
    from yolo_edge.cli.output import note, print_json
    from yolo_edge.ondevice.files import write_atomically

    if json:
        print_json(without_samples(result))
    else:
        _print(result)
    if csv is not None:
        write_atomically(csv, to_csv([result]))
    if written is not None:
        note(f"The whole result, with all samples, is in {written}; `yolo-edge report` makes a page of it.")


def _announce(meter: "Choice | str") -> None:
    from yolo_edge.cli.output import note

    if isinstance(meter, str):
        note(f"energy: {meter}")
    elif meter.others:
        note(f"energy: {meter.kind} is read; --meter chooses among it and {', '.join(meter.others)}")


def _print(result: "BenchmarkResult") -> None:
    from yolo_edge.benchmarks.report.energy import describe_energy
    from yolo_edge.benchmarks.results import model_name
    from yolo_edge.cli.output import note, note_invalid, plural, print_table

    several = len({(cell.model, cell.runtime) for cell in result.cells}) > 1
    runtimes = len({cell.runtime for cell in result.cells}) > 1
    scopes = [result.power.label] if result.power else []
    print_table(
        [
            "model",
            *(["runtime"] if runtimes else []),
            "threads>",
            "valid",
            "p50 ms>",
            "95 % interval>",
            "p90>",
            "p99>",
            "picture to boxes>",
            "first>",
            "load>",
            "memory>",
            "of peak>",
            *(f"{kind} mJ, {scope}>" for scope in scopes for kind in ("gross", "net")),
            *(["to the first", "rounds>"] if several else []),
        ],
        (
            [*_row(cell, runtimes), *(_energy(cell) if scopes else []), *(_ratio(result, cell) if several else [])]
            for cell in result.cells
        ),
        keys=3 if runtimes else 2,
    )
    base = result.settings
    what = "QUICK: a first look. " if base.quick else ""
    shown = any(cell.memory_mb is not None for cell in result.cells)
    memory = " memory: peak of the worker process, libraries included." if shown else ""
    repeats = plural(len(result.cells[0].repeats_ms), "repeat")
    note(
        f"{what}Times in ms of {repeats} in interleaved rounds; load, first: the model alone, "
        f"the first inference.{memory}"
    )
    if any(cell.peak_share is not None for cell in result.cells):
        peaks = ", ".join(
            f"{peak.gflops:.0f} GFLOP/s ({count} x, {peak.by})" for count, peak in result.host.peak.items()
        )
        note(f"of peak: of what this machine reached multiplying matrices in fp32: {peaks}.")
    if result.power:
        note(describe_energy(result.power, result.cells))
    if several:
        known = any(ratio.undisturbed is not None for ratio in result.ratios)
        rounds = "the rounds that nothing disturbed, where there are enough" if known else "all rounds"
        note(
            f"to the first: time as a multiple of {model_name(result.cells[0].model)}'s"
            f"{f' in {result.cells[0].runtime}' if runtimes else ''} with as many threads, of {rounds}; p50 is of all "
            "samples."
        )
        if len({cell.total_ms is None for cell in result.cells}) > 1:
            note("The ratio is that of the inference alone; those of models without a spec are of made-up values.")
    for reason in dict.fromkeys(cell.energy_reason for cell in result.cells if base.energy and cell.energy_reason):
        note(f"no energy: {reason}")
    note_invalid([cell.invalid_reason for cell in result.cells])
    for cell in result.cells:
        for text in cell.notes:
            what = f"{model_name(cell.model)}, {cell.runtime}" if runtimes else model_name(cell.model)
            note(f"{what}, threads {cell.threads}: {text}")
    _print_profiles(result.cells)


def _row(cell: "Cell", runtimes: bool) -> list[object]:
    from yolo_edge.benchmarks.report.table import validity
    from yolo_edge.benchmarks.results import model_name

    latency = cell.latency_ms
    first = [model_name(cell.model), *([_runtime(cell)] if runtimes else []), cell.threads, validity(cell)]
    if cell.emulated:
        return [*first, "withheld", *["-"] * 6, _shown(cell.memory_mb, ".0f", " MB"), "-"]
    return [
        *first,
        f"{latency.p50:.3f}",
        f"{latency.ci95[0]:.3f} .. {latency.ci95[1]:.3f}",
        _shown(latency.p90, ".3f"),
        _shown(latency.p99, ".3f"),
        "-" if cell.total_ms is None else f"{cell.total_ms.p50:.3f}",
        _shown(cell.first_ms, ".2f"),
        _shown(cell.load_ms, ".1f"),
        _shown(cell.memory_mb, ".0f", " MB"),
        "-" if cell.peak_share is None else f"{cell.peak_share:.1%}",
    ]


def _runtime(cell: "Cell") -> str:
    return f"{cell.runtime} {cell.runtime_version or ''}".strip()


def _shown(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _energy(cell: "Cell") -> list[str]:
    from yolo_edge.benchmarks.report.energy import millijoules

    energy = cell.energy_mj
    return ["-", "-"] if energy is None else [millijoules(energy.gross), millijoules(energy.net)]


def _ratio(result: "BenchmarkResult", cell: "Cell") -> list[str]:
    """The ratio to the first model and runtime, with what speaks against it, and the rounds that it is from."""
    from yolo_edge.benchmarks.report.table import ratio_marks
    from yolo_edge.benchmarks.results import cells_of

    first = result.cells[0]
    for ratio in result.ratios:
        a, b = cells_of(result, ratio)
        same = b is not None and (b.model, b.runtime, b.threads) == (first.model, first.runtime, cell.threads)
        if a is cell and b is not None and same:
            trusted = all(one.valid and not one.emulated for one in (a, b))
            words: list[str] = [] if ratio.verdict in ("faster", "slower") else [ratio.verdict]
            words += ratio_marks(ratio, trusted)
            if cell.emulated:
                return ["-", "-"]
            interval = f"{ratio.ratio:.3f} [{ratio.ci95[0]:.3f}, {ratio.ci95[1]:.3f}] {', '.join(words)}"
            return [interval.strip(), f"{ratio.rounds} of {ratio.of_rounds}"]
    is_first = (cell.model, cell.runtime) == (first.model, first.runtime)
    return ["1" if is_first and not cell.emulated else "-", "-"]


def _print_profiles(cells: "Sequence[Cell]") -> None:
    from collections import Counter

    from yolo_edge.benchmarks.results import model_name
    from yolo_edge.cli.output import print_table
    from yolo_edge.ondevice.files import printable

    for cell in cells:
        if cell.profile is None or cell.emulated:
            continue
        total = sum(operator.ms for operator in cell.profile.operators)
        kinds: Counter[str] = Counter()
        for operator in cell.profile.operators:
            kinds[operator.operator] += operator.ms  # type: ignore[assignment]
        what = f"{model_name(cell.model)}, threads {cell.threads}: time by operator, from {cell.runtime}'s profiler"
        typer.echo(printable(what))
        rows = [[kind, f"{ms:.3f}", f"{ms / total:.1%}"] for kind, ms in kinds.most_common() if total]
        print_table(["operator", "ms>", "share>"], rows)
        slowest = [[item.name, item.operator, f"{item.ms:.3f}"] for item in cell.profile.operators[:5]]
        print_table(["slowest nodes", "operator", "ms>"], slowest)
