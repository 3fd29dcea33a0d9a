"""What a report says, before it has a form."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from yolo_edge.benchmarks.accuracy import Accuracy, accuracy_of
from yolo_edge.benchmarks.baseline import Comparison
from yolo_edge.benchmarks.inputs import on_one_dataset
from yolo_edge.benchmarks.results import (
    BenchmarkResult,
    Cell,
    CellRatio,
    cells_of,
    energy_scope,
    model_name,
    path_parts,
)
from yolo_edge.benchmarks.verdicts import in_words
from yolo_edge.ondevice.spec import PRECISIONS

# how far a cell's times are to be trusted; charts have a mark for each
STATES = ("valid", "quick", "not valid", "emulated")
# what `export` appends to the name of its source
_EXPORTED = re.compile(rf"-[0-9]+(x[0-9]+)?-({'|'.join(PRECISIONS)})(-(decoded|nms))?(-(float32|uint8|int8))?$")


@dataclass(frozen=True)
class Row:
    """One cell in a report.

    Attributes:
        id: Its place among all rows: what charts and tables know it by.
        model: The model's name, as short as it can be told from the others.
        label: The same, with the runtime where the run has the model in several.
        run: Number of the result it is from, from 1.
        cell: What was measured.
        quick: Whether in a quick run.
        accuracy: Of the model, where known.
        machine: That it was measured on; times of different machines are not compared.
        scope: What the power meter saw, and whether its figures are estimates; None: the cell has no energy.
        pareto: It is valid, and no other valid cell of the same machine and device is faster and as accurate, or as
            fast and more accurate; False where the accuracy is unknown.
        frugal: The same with energy instead of time, among cells whose energy has the same scope.
        tag: What tells it from the other rows, in few words.
        where: Its device, where there are several; else "".
        estimated: Its energy is the hardware's own estimate; it has a scope of its own.
    """

    id: int
    model: str
    label: str
    run: int
    cell: Cell
    quick: bool
    accuracy: Accuracy | None = None
    machine: str = ""
    pareto: bool = False
    frugal: bool = False
    tag: str = ""
    where: str = ""
    scope: str | None = None
    estimated: bool = False

    @property
    def name(self) -> str:
        """Label and threads: what tells cells of one run apart."""
        return f"{self.label} ×{self.cell.threads}"

    @property
    def marks(self) -> list[str]:
        """What speaks against its times, in words; none where nothing does."""
        found = ["emulated"] if self.cell.emulated else []
        found += [] if self.cell.valid else in_words(self.cell.invalid_reason)
        return [*found, *(["quick"] if self.quick else [])]

    @property
    def marked(self) -> str:
        """Its name with the marks, and the device where there are several."""
        words = [*([self.where] if self.where else []), *self.marks]
        return f"{self.name} ({', '.join(words)})" if words else self.name

    @property
    def state(self) -> str:
        """The worst of `STATES` that it is in."""
        if self.cell.emulated:
            return STATES[3]
        if not self.cell.valid:
            return STATES[2]
        return STATES[1] if self.quick else STATES[0]

    @property
    def size(self) -> str:
        """Of the input: 320 or 352x288; "" where the model does not say."""
        if self.cell.input is None:
            return ""
        width, height = self.cell.input
        return str(width) if width == height else f"{width}x{height}"

    @property
    def family(self) -> str:
        """The file's name without size and precision: what models of one set of weights share."""
        name = model_name(self.cell.model).split("@", maxsplit=1)[0]
        return _EXPORTED.sub("", name.rsplit(".", 1)[0])

    @property
    def pool(self) -> str:
        """Machine and device: within it times are compared."""
        return f"{self.machine}, {self.cell.device}"

    @property
    def trusted(self) -> bool:
        """Whether its times mean anything."""
        return self.cell.valid and not self.cell.emulated


@dataclass(frozen=True)
class LabelledRatio:
    """A ratio with the names of its cells, as rows have them.

    Attributes:
        a: The one.
        b: The other.
        ratio: Of them.
        trusted: Whether the figures of both are to be trusted.
        marks: What speaks against either of them, in words.
        short: Both in few words, for charts.
    """

    a: str
    b: str
    ratio: CellRatio
    trusted: bool
    marks: tuple[str, ...] = ()
    short: str = ""


@dataclass(frozen=True)
class Content:
    """All of it.

    Attributes:
        results: The runs.
        rows: Their cells.
        ratios: Their ratios.
        comparisons: With a baseline; None: there is none.
        limit: How much slower than the baseline a cell may be, as a fraction; None: no limit was set.
        data: What the accuracies were measured on; "" where there are none.
        notes: What else to know of all of it.
    """

    results: Sequence[BenchmarkResult]
    rows: Sequence[Row]
    ratios: Sequence[LabelledRatio]
    comparisons: Sequence[Comparison] | None = None
    limit: float | None = None
    data: str = ""
    notes: Sequence[str] = ()

    @property
    def published(self) -> "Content":
        """The same without emulated cells: what may be drawn."""
        return replace(self, rows=[row for row in self.rows if not row.cell.emulated])

    @property
    def verdict(self) -> str:
        """Whether all of this is to be trusted, in a sentence."""
        bad = sum(not row.cell.valid for row in self.rows)
        quick = sum(row.quick for row in self.rows)
        cells = f"{len(self.rows)} cell{'s' if len(self.rows) != 1 else ''}"
        parts = [f"{cells}, all valid" if not bad else f"{bad} of {cells} not valid"]
        emulated = sum(row.cell.emulated for row in self.rows)
        if emulated:
            parts.append(f"{emulated} emulated, whose times and energy mean nothing and are withheld")
        if quick:
            parts.append("all quick: a first look" if quick == len(self.rows) else f"{quick} of them quick")
        return "; ".join(parts) + "."


def gather(
    results: Sequence[BenchmarkResult],
    accuracies: Sequence[Accuracy] = (),
    comparisons: Sequence[Comparison] | None = None,
    limit: float | None = None,
) -> Content:
    """Put together what a report says."""
    accuracies, others = on_one_dataset(accuracies)
    notes = [f"accuracies on other data are not shown: {other}" for other in others]
    names = _short_names([cell.model for result in results for cell in result.cells])
    several = len(results) > 1
    models = {
        (number, model): f"{name} (run {number})" if several and _in_several(model, results) else name
        for number, result in enumerate(results, 1)
        for model, name in ((cell.model, names[cell.model]) for cell in result.cells)
    }
    with_runtime = {
        (number, cell.model)
        for number, result in enumerate(results, 1)
        for cell in result.cells
        if any(other.model == cell.model and other.runtime != cell.runtime for other in result.cells)
    }
    cells = [(number, result, cell) for number, result in enumerate(results, 1) for cell in result.cells]
    known = {(cell.model, cell.sha256): accuracy_of(cell.model, accuracies, cell.sha256) for _, _, cell in cells}
    plain = [
        Row(
            i,
            models[number, cell.model],
            f"{models[number, cell.model]}{f', {cell.runtime}' if (number, cell.model) in with_runtime else ''}",
            number,
            cell,
            result.settings.quick,
            known[cell.model, cell.sha256],
            f"{result.host.name}, {result.host.hardware}",
            scope=energy_scope(result, cell),
            estimated=result.power is not None and result.power.meter.estimated,
        )
        for i, (number, result, cell) in enumerate(cells)
    ]
    rows = _tagged(_mark_fronts(plain))
    data = accuracies[0].on if accuracies else ""
    return Content(results, rows, _ratios(results, rows), comparisons, limit, data, notes)


def _ratios(results: Sequence[BenchmarkResult], rows: Sequence[Row]) -> list[LabelledRatio]:
    """The ratios of cells that are there and not emulated."""
    found = []
    for number, result in enumerate(results, 1):
        own = [row for row in rows if row.run == number]
        of_cell = {id(row.cell): row for row in own}
        told_apart = len({row.tag for row in own}) == len(own)
        run = f"run {number}: " if len(results) > 1 else ""
        for ratio in result.ratios:
            pair = [of_cell[id(cell)] for cell in cells_of(result, ratio) if cell is not None]
            if len(pair) != 2 or any(row.cell.emulated for row in pair):
                continue
            a, b = pair
            marks = tuple(dict.fromkeys([*a.marks, *b.marks]))
            short = f"{run}{a.tag} / {b.tag}" if told_apart else f"{a.name} / {b.name}"
            found.append(LabelledRatio(a.name, b.name, ratio, a.trusted and b.trusted, marks, short))
    return found


def _in_several(model: str, results: Sequence[BenchmarkResult]) -> bool:
    name = model_name(model)
    return sum(any(model_name(cell.model) == name for cell in result.cells) for result in results) > 1


def _short_names(models: Sequence[str]) -> dict[str, str]:
    """The last parts of each path, as many as tell it from the others."""
    found = {}
    for model in dict.fromkeys(models):
        parts = path_parts(model)
        for count in range(1, len(parts) + 1):
            tail = "/".join(parts[-count:])
            if not any(other != model and path_parts(other)[-count:] == parts[-count:] for other in models):
                break
        found[model] = tail
    return found


def _mark_fronts(rows: Sequence[Row]) -> list[Row]:
    """Mark the cells that no other of the same machine and device beats, in accuracy and in time or energy.

    Runtimes and numbers of threads are compared with each other, since a user can choose them; energies of one scope.
    """
    fast = _front({row.id: (row.pool, row.cell.latency_ms.p50) for row in rows}, rows)
    frugal = _front(
        {row.id: (f"{row.pool} {row.scope}", e.gross) for row in rows if (e := row.cell.energy_mj) is not None}, rows
    )
    return [replace(row, pareto=row.id in fast, frugal=row.id in frugal) for row in rows]


def _front(costs: Mapping[int, tuple[str, float]], rows: Sequence[Row]) -> set[int]:
    """The ids of those that none of the same group beats; `costs` has the group and the cost of each."""
    groups: dict[str, list[tuple[float, float, int]]] = {}
    for row in rows:
        if row.trusted and row.accuracy is not None and row.id in costs:
            group, cost = costs[row.id]
            groups.setdefault(group, []).append((cost, -row.accuracy.mAP50_95, row.id))
    front: set[int] = set()
    for points in groups.values():
        best, at = math.inf, math.inf
        for cost, negative, number in sorted(points):
            if negative < best:
                best, at = negative, cost
            if (cost, negative) == (at, best):  # the best so far, or as good and as cheap
                front.add(number)
    return front


def _tagged(rows: Sequence[Row]) -> list[Row]:
    """Give each row a tag of what differs among them: names of files are long, and much of them the same."""
    parts = [(row.family, row.size, row.cell.precision or "", row.cell.runtime, f"×{row.cell.threads}") for row in rows]
    varying = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    several = len({row.run for row in rows}) > 1  # of which each may have the same cells
    tags = [" ".join(part for part, varies in zip(row, varying, strict=True) if varies and part) for row in parts]
    if not several and len(set(tags)) < len(tags):  # what differs is something else
        tags = [row.name for row in rows]
    devices = len({row.cell.device for row in rows}) > 1
    return [
        replace(row, tag=tag or row.name, where=row.cell.device if devices else "")
        for row, tag in zip(rows, tags, strict=True)
    ]
