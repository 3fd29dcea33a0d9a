"""`yolo-edge sweep`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.options import (
    Fast,
    Images,
    InventoryFile,
    Json,
    Names,
    Resize,
    Runtime,
    SkipBad,
    Source,
    SpecFile,
    Weights,
    check_resize,
    path,
)
from yolo_edge.cli.options import sizes as parse_sizes
from yolo_edge.cli.options import split as parse_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yolo_edge.cli.sweep_files import Exported
    from yolo_edge.cli.sweep_steps import AccuracyWork, Timing
    from yolo_edge.ondevice.errors import YoloEdgeError

_MOST_SLOTS = 12  # files x threads of one batch: all of them are in memory at once


def sweep(
    model: Source,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A folder; there a killed sweep goes on when it is called again.",
            show_default=False,
            parser=path,
        ),
    ],
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            "--size",
            help="Such as 224,320,352x288. Default: the model's own.",
            metavar="LIST",
            show_default=False,
        ),
    ] = None,
    precisions: Annotated[
        str, typer.Option("--precisions", "--precision", help="fp32, fp16, int8, with commas between.", metavar="LIST")
    ] = "fp32",
    formats: Annotated[
        str, typer.Option("--formats", "--format", help="onnx, tflite, with commas between.", metavar="LIST")
    ] = "onnx",
    threads: Annotated[
        str | None,
        typer.Option(
            help="With commas between. Default: 1, and as many as there are CPUs, up to 4.",
            metavar="LIST",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str,
        typer.Option(
            "--devices",
            "--device",
            help="Of the inventory, or local: this machine; with commas between.",
            metavar="LIST",
        ),
    ] = "local",
    inventory: InventoryFile = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled pictures, as for validate. Without: no accuracies.", show_default=False, parser=path
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a data.yaml or a VOC folder. Default: val.", show_default=False)
    ] = None,
    images: Images = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Pictures to make int8 files with: a folder, or a dataset (its training part).",
            metavar="DIR|DATASET",
            show_default=False,
            parser=path,
        ),
    ] = None,
    calibration_images: Annotated[int, typer.Option(help="How many of them, drawn at random, at most.")] = 64,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes for accuracies. Default: as many as there are CPUs.", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler, such as tcp://127.0.0.1:8786: its workers find the accuracies. It must be trusted.",
            metavar="ADDRESS",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Time a few seconds a cell, and label the results so.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Time by operator, too (onnxruntime only).")] = False,
    energy: Annotated[bool, typer.Option("--energy", help="Read a power meter, too.")] = False,
    meter: Annotated[str | None, typer.Option(help="As of benchmark.", show_default=False)] = None,
    roof: Annotated[bool, typer.Option("--roof", help="How fast memory is copied and int8 multiplied, too.")] = False,
    seconds: Annotated[float | None, typer.Option(help="As of benchmark.", show_default=False)] = None,
    inferences: Annotated[int | None, typer.Option(help="As of benchmark.", show_default=False)] = None,
    repeats: Annotated[int | None, typer.Option(help="As of benchmark.", show_default=False)] = None,
    cooldown: Annotated[float | None, typer.Option(help="As of benchmark.", show_default=False)] = None,
    runtime: Runtime = "auto",
    fast: Fast = False,
    seed: Annotated[int, typer.Option(min=0, help="Of int8 and of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap behind the intervals.")] = 1000,
    weights: Weights = None,
    resize: Resize = None,
    names: Names = None,
    spec: SpecFile = None,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Export, validate and benchmark a model at all sizes, precisions, threads, devices; a killed sweep goes on."""
    from contextlib import ExitStack

    from yolo_edge.cli import sweep_steps as step
    from yolo_edge.cli.export import find_calibration
    from yolo_edge.cli.measuring import make_settings
    from yolo_edge.cli.output import note, print_json, steps
    from yolo_edge.cli.provenance import command_line, git_revision
    from yolo_edge.cli.sweep_files import MODELS, Plan, export_files, locked
    from yolo_edge.devices.inventory import find_device
    from yolo_edge.evaluation.parallel import Options
    from yolo_edge.export.job import AUTO, PLANNED, ExportOptions, Int8Options
    from yolo_edge.ondevice.errors import InputError, YoloEdgeError
    from yolo_edge.ondevice.files import check_output_folder, printable

    check_resize(resize)
    check_output_folder(output)
    if workers is not None and not 1 <= workers <= 1024:
        raise InputError(f"--workers {workers}: expected 1..1024")
    if workers is not None and scheduler is not None:
        raise InputError("--workers goes without --scheduler, whose workers are its own")
    if not 1 <= resamples <= 100_000:
        raise InputError(f"--resamples {resamples}: expected 1..100000")
    if data is None and scheduler is not None:
        raise InputError("--scheduler: finds accuracies, and goes with --data")
    named = parse_list(devices, "devices")
    for device in named:
        if find_device(device, inventory).url.startswith("adb:"):
            raise InputError(
                f"{device}: by adb models are run by TFLite's native tool, not by a sweep: `yolo-edge benchmark "
                f"{output / MODELS}/*.tflite --device {device} --benchmark-model PROGRAM -o {output / step.RESULTS}` "
                "adds its times (docs/phones.md)"
            )
    wanted = parse_list(precisions, "precisions")
    if AUTO in wanted:
        raise InputError("--precisions auto: a sweep makes all that are named, auto chooses one; name them")
    if set(PLANNED) & set(wanted) and calibration is None:
        raise InputError("--precisions int8: wants --calibration, a folder of pictures like those it will see")
    settings = make_settings(
        quick=quick,
        threads=threads,
        image=None,
        seconds=seconds,
        inferences=inferences,
        repeats=repeats,
        cooldown=cooldown,
        runtime=runtime,
        fast=fast,
        profile=profile,
        roof=roof,
        energy=energy,
        meter=meter,
    )
    options = ExportOptions(
        formats=parse_list(formats, "formats"),
        precisions=wanted,
        sizes=parse_sizes(sizes),
        resize=resize,
        names=names,
        spec=spec,
        int8=Int8Options(find_calibration(calibration), calibration_images, seed),
    )
    with ExitStack() as stack:
        stack.enter_context(locked(output))
        combinations = len(options.sizes) * len(options.precisions) * len(options.formats)
        with steps(combinations) as advance:
            exported = export_files(Plan(model, weights, output, options), advance)
        failed = [item for item in exported if item.failed is not None]
        for item in failed:
            note(f"not written: {item.failed}")
        files = [(output / MODELS / item.name, item.sha256 or "") for item in exported if item.name is not None]
        if not files:
            raise YoloEdgeError("no file could be made of this model: nothing to measure")
        accuracy = None
        if data is not None:
            accuracy = step.AccuracyWork(
                step.Accuracies(
                    files, data, split, images, skip_bad, Options(runtime=runtime, fast=fast), resamples, seed
                ),
                output,
            )
        timings = [
            step.Timing(
                device,
                _batches(exported, output, len(settings.threads) or 2),
                settings,
                output,
                inventory,
                command_line(),
                git_revision(),
            )
            for device in named
        ]
        try:
            lost = _measure(accuracy, timings, workers, scheduler)
        except KeyboardInterrupt:
            note("what is finished is kept: the same command goes on from there")
            raise
        for text in dict.fromkeys(accuracy.notes if accuracy else ()):
            note(f"note: {text}")
    results = [path for timing in timings for path in timing.results]
    document = _document(output, exported, results, None if accuracy is None else accuracy.target)
    document["lost"] = [{"device": device, "reason": printable(str(error))} for device, error in lost.items()]
    if json:
        print_json(document)
    else:
        _print(document)
        note(f"Files are in {output / MODELS}, results in {output / step.RESULTS}. Next:")
        note(f"  yolo-edge report {output / step.RESULTS} -o report.html")
        note(f"  yolo-edge choose {output / step.RESULTS} --max-latency 30ms")
    for device, error in list(lost.items())[1:]:
        note(f"{device}: not measured: {error}")
    for error in lost.values():
        raise error
    if failed:
        raise YoloEdgeError(f"{len(failed)} of {len(exported)} files could not be made: {failed[0].failed}")


def _batches(exported: "Sequence[Exported]", output: Path, cells_a_file: int) -> list[list[Path]]:
    """Files of one size side by side: their ratios are what one wants to know; no more than fit into memory."""
    from yolo_edge.cli.sweep_files import MODELS

    most = max(_MOST_SLOTS // cells_a_file, 1)
    by_size: dict[object, list[Path]] = {}
    for item in exported:
        if item.name is not None:
            by_size.setdefault(item.size, []).append(output / MODELS / item.name)
    return [files[i : i + most] for files in by_size.values() for i in range(0, len(files), most)]


def _measure(
    accuracy: "AccuracyWork | None", timings: "Sequence[Timing]", workers: int | None, scheduler: str | None
) -> "dict[str, YoloEdgeError]":
    """Accuracies and times; this machine is timed when nothing else runs on it, other devices meanwhile.

    Returns:
        What went wrong on which of the other devices: one that is lost does not keep the others from being measured.
    """
    import threading
    from concurrent.futures import ThreadPoolExecutor, wait

    from yolo_edge.cli.output import bars
    from yolo_edge.devices.inventory import LOCAL
    from yolo_edge.ondevice.errors import YoloEdgeError

    stop = threading.Event()
    others = [timing for timing in timings if timing.device != LOCAL]
    with bars() as bar, ThreadPoolExecutor(max(len(others), 1), "device") as pool:
        running = {timing.device: pool.submit(timing.run, stop, bar(timing.device)) for timing in others}
        try:
            if accuracy is not None:
                _find_accuracies(accuracy, workers, scheduler, bar("accuracies", accuracy.missing))
            for timing in timings:
                if timing.device == LOCAL:
                    timing.run(stop, bar(timing.device))
            wait(running.values())
        finally:
            stop.set()  # where this machine failed, the others end at their next step, and keep what is finished
    lost = {}
    for device, future in running.items():
        error = future.exception()
        if isinstance(error, YoloEdgeError):
            lost[device] = error
        elif error is not None:
            raise error
    return lost


def _find_accuracies(
    accuracy: "AccuracyWork", workers: int | None, scheduler: str | None, progress: "Callable[[str], None]"
) -> None:
    from yolo_edge.evaluation.pool import LocalWorkers
    from yolo_edge.ondevice.agent.machine import usable_cpus

    usable = usable_cpus()
    if scheduler is None or accuracy.done:
        accuracy.run(LocalWorkers(workers or usable), progress, min(workers or usable, usable))
        return
    from yolo_edge.evaluation.cluster import DaskWorkers

    with DaskWorkers(scheduler) as cluster:
        accuracy.run(cluster, progress, usable)


def _document(
    output: Path, exported: "Sequence[Exported]", results: "Sequence[Path]", accuracy: Path | None
) -> dict[str, Any]:
    from yolo_edge.benchmarks.accuracy import accuracy_of, read_accuracy
    from yolo_edge.benchmarks.result_file import read_result
    from yolo_edge.benchmarks.results import model_name
    from yolo_edge.ondevice.files import printable

    known = read_accuracy(accuracy) if accuracy is not None else []
    cells = []
    for file in results:
        result = read_result(file)
        for cell in result.cells:
            found = accuracy_of(cell.model, known, cell.sha256)
            cells.append(
                {
                    "model": model_name(cell.model),
                    "device": cell.device,
                    "runtime": cell.runtime,
                    "threads": cell.threads,
                    "precision": cell.precision,
                    "input": cell.input,
                    "p50_ms": cell.latency_ms.p50,
                    "ci95_ms": cell.latency_ms.ci95,
                    "energy_mj": cell.energy_mj,
                    "mAP50_95": None if found is None else found.mAP50_95,
                    "mAP50": None if found is None else found.mAP50,
                    "valid": cell.valid,
                    "invalid_reason": cell.invalid_reason,
                    "emulated": cell.emulated,
                    "quick": result.settings.quick,
                }
            )
    return {
        "folder": printable(str(output)),
        "files": [item for item in exported if item.name is not None],
        "failed": [item for item in exported if item.name is None],
        "accuracy": None if accuracy is None else printable(str(accuracy)),
        "results": [printable(str(file)) for file in results],
        "cells": cells,
    }


def _print(document: dict[str, Any]) -> None:
    from yolo_edge.cli.output import note, note_invalid, print_table

    cells = document["cells"]
    accuracies = document["accuracy"] is not None
    energies = any(cell["energy_mj"] is not None for cell in cells)
    columns = ["model", "device", "runtime", "threads>", "valid", "p50 ms>", "95 % interval>"]
    columns += ["mAP50-95>", "mAP50>"] if accuracies else []
    columns += ["energy>"] if energies else []
    rows = []
    for cell in cells:
        row = [cell["model"], cell["device"], cell["runtime"], cell["threads"]]
        if cell["emulated"]:
            row += ["emulated", "withheld", "-"]
        else:
            row += ["yes" if cell["valid"] else "no", f"{cell['p50_ms']:.3f}"]
            row.append("{:.3f} .. {:.3f}".format(*cell["ci95_ms"]))
        if accuracies:
            row += ["-" if cell[name] is None else f"{100 * cell[name]:.1f}" for name in ("mAP50_95", "mAP50")]
        if energies:
            energy = cell["energy_mj"]
            row.append("-" if energy is None else f"{energy.gross:.2f} mJ ({energy.scope})")
        rows.append(row)
    if rows:
        print_table(columns, rows, keys=4)
    if any(cell["quick"] for cell in cells):
        note("QUICK: a first look.")
    note_invalid([cell["invalid_reason"] for cell in cells])
