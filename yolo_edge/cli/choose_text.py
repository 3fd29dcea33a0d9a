"""What `yolo-edge choose` says."""

from collections.abc import Sequence
from typing import Any

import typer

from yolo_edge.benchmarks.choice import QUANTITIES, Basis, Candidate, Choice, Fit, Margin, Quantity
from yolo_edge.benchmarks.results import BenchmarkResult, Cell
from yolo_edge.cli.output import note, print_table
from yolo_edge.ondevice.files import printable

_TITLES: dict[Quantity, str] = {
    "latency": "latency",
    "energy": "energy",
    "mAP": "mAP50-95",
    "mAP50": "mAP50",
    "memory": "memory",
    "size": "file size",
}


def unknown_goal(basis: Basis) -> str:
    """Why nothing can be the best."""
    if basis.best in ("mAP", "mAP50"):
        return (
            "no accuracy of the measured files is known: `yolo-edge validate FILES --data DATASET --json` prints a "
            "document of them; or --best latency does without"
        )
    return f"--best {basis.best}: it was not measured for any of these files"


def why_none(choice: Choice) -> str:
    """Why none fits."""
    counted = ", ".join(f"{count} not within {_limit_text(choice, name)}" for name, count in choice.failures.items())
    distrusted = [fit for fit in choice.fits if fit.distrusted is not None]
    parts = [counted] if counted else []
    if distrusted:
        parts.append(f"{len(distrusted)} not to be trusted (such as {distrusted[0].distrusted})")
    text = f"none of {len(choice.fits)} measured cells fits: {'; '.join(parts)}"
    if choice.next is not None:
        text += f". The nearest is {choice.next.candidate.name}: {_limits_text(choice.next)}"
    return text


def _limit_text(choice: Choice, name: Quantity) -> str:
    margin = next(margin for margin in choice.fits[0].margins if margin.quantity == name)
    return f"{_TITLES[name]} {_quantity(name, margin.limit)}"


def _quantity(name: Quantity, value: float, sign: bool = False) -> str:
    unit, fraction = QUANTITIES[name]
    plus = "+" if sign else ""
    return f"{value:{plus}.3f}" if fraction else f"{value:{plus}.4g} {unit}"


def _limits_text(fit: Fit) -> str:
    """What keeps a file from being chosen."""
    parts = []
    for margin in fit.limiting:
        if margin.figure is None:
            why = (fit.candidate.cell.energy_reason or "not measured") if margin.quantity == "energy" else "not known"
            parts.append(f"{_TITLES[margin.quantity]} {why}")
        elif margin.kept:
            parts.append(
                f"{_TITLES[margin.quantity]} {_quantity(margin.quantity, margin.figure.value)} is within "
                f"{_quantity(margin.quantity, margin.limit)}, its interval is not, or not known"
            )
        else:
            least = "at least" if margin.quantity in ("mAP", "mAP50") else "at most"
            parts.append(
                f"{_TITLES[margin.quantity]} {_quantity(margin.quantity, margin.figure.value)}, {least} "
                f"{_quantity(margin.quantity, margin.limit)} asked for"
            )
    if fit.distrusted:
        parts.append(fit.distrusted)
    return "; ".join(parts)


def _margin_text(margin: Margin) -> str:
    if margin.figure is None or margin.margin is None:
        return "not known"
    low_high = ""
    if margin.interval is not None:
        low_high = " [{}, {}]".format(*(_quantity(margin.quantity, end, sign=True) for end in margin.interval))
    return f"{_quantity(margin.quantity, margin.margin, sign=True)}{low_high}"


def show(choice: Choice, basis: Basis) -> None:
    """Print what was chosen, its margins, and what limits the next better one."""
    fit = choice.chosen
    assert fit is not None  # noqa: S101 - the caller looked
    cell = fit.candidate.cell
    typer.echo(printable(cell.model))
    note(f"{fit.candidate.name} on {cell.device}: the best {_TITLES[basis.best]} within the limits.")
    shown: list[Quantity] = ["mAP", "mAP50", "latency", "energy", "memory", "size"]
    margins = {margin.quantity: margin for margin in fit.margins}
    rows = []
    for name in shown:
        figure = fit.candidate.figures.get(name)
        if figure is None and name not in margins:
            continue
        limit = margins.get(name)
        rows.append(
            [
                _figure_title(name, fit.candidate, basis),
                "not measured" if figure is None else _quantity(name, figure.value),
                "-" if limit is None else _quantity(name, limit.limit),
                "-" if limit is None else _margin_text(limit),
            ]
        )
    print_table(["figure", "measured>", "limit>", "margin, 95 % interval>"], rows)
    if choice.next is None:
        note(f"Nothing with a better {_TITLES[basis.best]} was measured.")
    else:
        better = choice.next.candidate
        value = _quantity(basis.best, better.figures[basis.best].value)
        note(f"Next better: {better.name}, {_TITLES[basis.best]} {value}. {_limits_text(choice.next)}.")


def _figure_title(name: Quantity, candidate: Candidate, basis: Basis) -> str:
    if name == "latency":
        return f"latency, {basis.percentile} of {'inference' if basis.stage == 'inference' else 'picture to boxes'}"
    if name == "energy" and candidate.scope is not None:
        return f"energy, {basis.energy} ({candidate.scope})"
    return _TITLES[name]


def remarks(choice: Choice) -> list[str]:
    """What speaks against trusting the answer."""
    found: list[str] = []
    fit = choice.chosen
    if fit is None:
        return found
    cell = fit.candidate.cell
    if fit.candidate.result.settings.quick:
        found.append("the times are from a quick run, a first look")
    if not cell.valid:
        found.append(f"not valid: {cell.invalid_reason}")
    found += [
        f"the interval of the {_TITLES[margin.quantity]} reaches over the limit: it may not be kept"
        for margin in fit.margins
        if margin.clear is False
    ]
    unknown = sum(fit.distrusted is not None for fit in choice.fits)
    if unknown:
        found.append(f"{unknown} of {len(choice.fits)} cells are not to be trusted and were left out")
    return found


def document(
    choice: Choice,
    candidates: Sequence[Candidate],
    limits: dict[Quantity, float],
    basis: Basis,
    reason: str | None,
) -> dict[str, Any]:
    """What `--json` prints."""
    first = candidates[0]
    return {
        "device": first.cell.device,
        "host": first.result.host.name,
        "best": basis.best,
        "stage": basis.stage,
        "percentile": basis.percentile,
        "energy": basis.energy,
        "limits": limits,
        "candidates": len(choice.fits),
        "chosen": None if choice.chosen is None else _fit_document(choice.chosen),
        "next": None if choice.next is None else _fit_document(choice.next),
        "failures": choice.failures,
        "reason": reason,
    }


def _fit_document(fit: Fit) -> dict[str, Any]:
    cell, result = fit.candidate.cell, fit.candidate.result
    return {
        **_cell_document(cell, result),
        "figures": {
            name: {"value": figure.value, "ci95": figure.interval} for name, figure in fit.candidate.figures.items()
        },
        "margins": {
            margin.quantity: {
                "limit": margin.limit,
                "margin": margin.margin,
                "ci95": margin.interval,
                "kept": margin.kept,
            }
            for margin in fit.margins
        },
        "limited_by": [margin.quantity for margin in fit.limiting],
        "not_trusted": fit.distrusted,
    }


def _cell_document(cell: Cell, result: BenchmarkResult) -> dict[str, Any]:
    return {
        "model": cell.model,
        "sha256": cell.sha256,
        "runtime": cell.runtime,
        "threads": cell.threads,
        "precision": cell.precision,
        "input": cell.input,
        "energy_scope": None if cell.energy_mj is None else cell.energy_mj.scope,
        "valid": cell.valid,
        "invalid_reason": cell.invalid_reason,
        "quick": result.settings.quick,
    }
