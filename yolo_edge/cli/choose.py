"""`yolo-edge choose`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.options import Json, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_edge.benchmarks.choice import Candidate, Quantity

# unit → its multiple of what is compared
_TIME = {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3}
_ENERGY = {"": 1.0, "mj": 1.0, "j": 1e3}
_FRACTION = {"": 1.0, "%": 0.01}
_BYTES = {"": 1.0, "mb": 1.0, "kb": 1e-3, "gb": 1e3}


def choose(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results of `benchmark`, documents of `validate --json`, and folders that hold both.",
            metavar="RESULTS",
            show_default=False,
            parser=path,
        ),
    ],
    max_latency: Annotated[str | None, typer.Option(help="Such as 30ms.", metavar="TIME", show_default=False)] = None,
    max_energy: Annotated[
        str | None, typer.Option(help="Of an inference, such as 50mJ.", metavar="ENERGY", show_default=False)
    ] = None,
    min_map: Annotated[
        str | None, typer.Option(help="mAP50-95, such as 0.3 or 30%.", metavar="FRACTION", show_default=False)
    ] = None,
    min_map50: Annotated[
        str | None, typer.Option(help="mAP50, such as 0.5 or 50%.", metavar="FRACTION", show_default=False)
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Peak of the process, such as 200MB.", metavar="MEMORY", show_default=False)
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Of the file, such as 5MB.", metavar="SIZE", show_default=False)
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Its name, or that of its host. Needed where there are several.", show_default=False),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Only cells with so many.", show_default=False)] = None,
    best: Annotated[
        str, typer.Option(help="What the best is best in.", metavar="mAP|mAP50|latency|energy|memory|size")
    ] = "mAP",
    stage: Annotated[
        str, typer.Option(help="Which time: of the inference, or from the picture to boxes.", metavar="inference|total")
    ] = "inference",
    percentile: Annotated[str, typer.Option(help="Of the times.", metavar="p50|p90|p99")] = "p50",
    energy: Annotated[
        str, typer.Option(help="All of it, or without what the idle machine takes.", metavar="gross|net")
    ] = "gross",
    scope: Annotated[
        str | None,
        typer.Option(
            help="What the power meter saw, such as board_input; where there are several.", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The dataset of the accuracies, where there are several.", show_default=False),
    ] = None,
    certain: Annotated[
        bool, typer.Option("--certain", help="The whole 95 % interval has to be within a limit.")
    ] = False,
    allow_invalid: Annotated[
        bool, typer.Option("--allow-invalid", help="Cells that were throttled or disturbed may be chosen.")
    ] = False,
    json: Json = False,
) -> None:
    """Name the best of the measured files that keeps within limits, and what limits the next better one."""
    from yolo_edge.benchmarks.choice import Basis, find_candidates
    from yolo_edge.benchmarks.choice import choose as choose_best
    from yolo_edge.benchmarks.inputs import on_one_dataset, read_inputs
    from yolo_edge.cli.choose_text import document, remarks, show, unknown_goal, why_none
    from yolo_edge.cli.output import note, print_json
    from yolo_edge.ondevice.errors import InputError, YoloEdgeError

    given: dict[Quantity, float | None] = {
        "latency": _amount(max_latency, "--max-latency", _TIME, "a time such as 30ms"),
        "energy": _amount(max_energy, "--max-energy", _ENERGY, "an energy such as 50mJ"),
        "mAP": _amount(min_map, "--min-map", _FRACTION, "a fraction such as 0.3 or 30%"),
        "mAP50": _amount(min_map50, "--min-map50", _FRACTION, "a fraction such as 0.5 or 50%"),
        "memory": _amount(max_memory, "--max-memory", _BYTES, "an amount such as 200MB"),
        "size": _amount(max_size, "--max-size", _BYTES, "a size such as 5MB"),
    }
    limits = {name: value for name, value in given.items() if value is not None}
    for option, fraction in (("--min-map", given["mAP"]), ("--min-map50", given["mAP50"])):
        if fraction is not None and fraction > 1:
            raise InputError(f"{option}: expected a fraction from 0 to 1, or a percentage with its sign, such as 30%")
    basis = Basis(
        stage=_one_of("--stage", stage, ("inference", "total")),
        percentile=_one_of("--percentile", percentile, ("p50", "p90", "p99")),
        energy=_one_of("--energy", energy, ("gross", "net")),
        best=_one_of("--best", best, tuple(given)),
        certain=certain,
        invalid=allow_invalid,
    )
    found = read_inputs(results)
    accuracies, others = on_one_dataset(found.accuracies, data)
    if others and data is None:
        raise InputError(
            f"accuracies on different data cannot be compared: {accuracies[0].on}; {'; '.join(others)} (--data NAME)"
        )
    if data is not None and not accuracies:
        raise InputError(f"--data {data}: no accuracy was measured on it; there are {'; '.join(others) or 'none'}")
    candidates = _on_one_device(find_candidates(found.results, accuracies, basis), device)
    if threads is not None:
        candidates = [item for item in candidates if item.cell.threads == threads]
        if not candidates:
            raise InputError(f"--threads {threads}: no such cell was measured on this device")
    candidates = _of_one_scope(candidates, scope, wanted="energy" in limits or basis.best == "energy")
    if not any(basis.best in item.figures for item in candidates):
        raise InputError(unknown_goal(basis))
    choice = choose_best(candidates, limits, basis)
    reason = None if choice.chosen else why_none(choice)
    if json:
        print_json(document(choice, candidates, limits, basis, reason))
    elif choice.chosen:
        show(choice, basis)
    if accuracies:
        note(f"Accuracies on {accuracies[0].on}.")
    for remark in remarks(choice):
        note(f"note: {remark}")
    if reason is not None:
        raise YoloEdgeError(reason)


def _amount(text: str | None, option: str, units: dict[str, float], expected: str) -> float | None:
    from yolo_edge.ondevice.errors import InputError

    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{0,9}(?:\.[0-9]{1,9})?) ?([a-z%]{0,2})", text.strip().lower())
    if match is None or not match[1] or match[2] not in units:
        raise InputError(f"{option} {text!r}: expected {expected}")
    return round(float(match[1]) * units[match[2]], 12)


def _one_of(option: str, value: str, choices: "tuple[Any, ...]") -> Any:
    from yolo_edge.ondevice.errors import InputError

    if value not in choices:
        raise InputError(f"{option} {value!r}: expected {', '.join(choices)}")
    return value


def _on_one_device(candidates: "Sequence[Candidate]", device: str | None) -> "list[Candidate]":
    """Those of the device that was named, or of the only one.

    Raises:
        InputError: There is none, or several machines.
    """
    from yolo_edge.ondevice.errors import InputError

    def names(item: "Candidate") -> tuple[str, ...]:
        return (item.cell.device, item.result.host.name)

    found = [item for item in candidates if device is None or device in names(item)]
    machines = {(*names(item), item.result.host.hardware) for item in found}
    if not found:
        there = sorted({" on ".join(names(item)) for item in candidates})
        raise InputError(f"--device {device}: nothing was measured on it; there are {', '.join(there)}")
    if len(machines) > 1:
        listed = "; ".join(f"{name} on {host} ({hardware})" for name, host, hardware in sorted(machines))
        raise InputError(f"times of different machines cannot be compared, --device says which: {listed}")
    return found


def _of_one_scope(candidates: "Sequence[Candidate]", scope: str | None, *, wanted: bool) -> "list[Candidate]":
    """The candidates, with the energies of one scope only.

    Raises:
        InputError: Energy is wanted, and there are several scopes, or not the one that was named.
    """
    from dataclasses import replace

    from yolo_edge.ondevice.errors import InputError

    scopes = sorted({item.scope for item in candidates if item.scope is not None})
    if scope is not None and scope not in scopes:
        raise InputError(f"--scope {scope}: no energy of that scope; there are {', '.join(scopes) or 'none'}")
    if scope is None and wanted and len(scopes) > 1:
        raise InputError(f"energies of different scopes cannot be compared, --scope says which: {', '.join(scopes)}")
    kept = scope or (scopes[0] if len(scopes) == 1 else None)
    return [
        item
        if item.scope in (None, kept)
        else replace(item, figures={name: figure for name, figure in item.figures.items() if name != "energy"})
        for item in candidates
    ]
