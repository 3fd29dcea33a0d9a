"""What a benchmark found: one JSON document a run, schema version 1.

The published form is result.schema.json beside this file (`make schema` writes it from these classes).
"""

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from yolo_edge.benchmarks.host import Conditions, Host
from yolo_edge.benchmarks.power import CellPower, Energy, Power
from yolo_edge.benchmarks.samples import decode, decode_bytes
from yolo_edge.benchmarks.settings import Settings

_UNDISTURBED = 0.97  # of the CPU time that the cell gets at best
_LEAST = 2  # undisturbed inferences of a turn

STAGES = ("preprocess", "inference", "postprocess")

Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # 1e9: some eleven days
Megabytes = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Name = Annotated[str, msgspec.Meta(max_length=4096)]  # Linux' longest path
RatioVerdict = Literal["faster", "slower", "no difference", "too few repeats"]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of times in milliseconds.

    Attributes:
        p50: The median.
        p90: The 90th percentile; None: of a native tool that prints none.
        p99: The 99th percentile; the same.
        mean: Of all samples.
        n: Their number.
        ci95: The 95 % interval of the median: a bootstrap over repeats and blocks of turns, since samples that follow
            each other resemble each other.
    """

    p50: Milliseconds
    p90: Milliseconds | None
    p99: Milliseconds | None
    mean: Milliseconds
    n: Count
    ci95: tuple[Milliseconds, Milliseconds]


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the network, as the runtime runs it.

    Attributes:
        name: Of the node.
        operator: Its kind.
        ms: Mean of an inference.
    """

    name: str
    operator: str
    ms: Milliseconds


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Time by operator, from the runtime's own profiler, which takes microseconds a node itself.

    Attributes:
        inferences: That were profiled.
        run_ms: Median of an inference as the profiler reports it.
        outside_ms: Median of the same inferences, timed around the call.
        operators: By falling time.
    """

    inferences: Count
    run_ms: Milliseconds
    outside_ms: Milliseconds
    operators: tuple[Operator, ...]


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """All samples, compact.

    Attributes:
        tick_ns: Nanoseconds of one unit.
        encoding: How the texts of `stages` hold the numbers.
        repeats: Each has as many turns.
        turns: Inferences of each turn, in the order of measuring.
        at_s: When each turn began, in seconds since the run did.
        stages: Stage → its samples.
        cpu: The CPU time of each inference in percent of what its threads could take: base64 of zlib of a byte each;
            None: the device does not show it.
        windows: When the inferences of each turn began and ended, on the clock of its repeat's power readings; empty
            where no power was read.
    """

    tick_ns: Count
    encoding: str
    repeats: Annotated[int, msgspec.Meta(ge=1)]
    turns: tuple[Count, ...]
    at_s: tuple[float, ...]
    stages: dict[str, str]
    cpu: str | None
    windows: tuple[tuple[float, float], ...] = ()

    def stage(self, name: str) -> list[NDArray[np.float64]]:
        """Milliseconds of one stage, an array a turn.

        Raises:
            ValueError: The samples are damaged.
        """
        values = decode(self.stages[name], sum(self.turns))
        return np.split(values, np.cumsum(self.turns)[:-1])

    def turn_medians(self) -> NDArray[np.float64]:
        """Median inference of each turn in milliseconds, [repeats, turns].

        Raises:
            ValueError: The samples are damaged.
        """
        return self._medians(self.stage("inference"))

    def undisturbed_medians(self) -> NDArray[np.float64]:
        """The same of the inferences that no other program came between; NaN where a turn has less than two of them.

        All NaN where the device does not show CPU time.

        An inference that had to share its CPUs got less CPU time than others of the same cell.

        Raises:
            ValueError: The samples are damaged.
        """
        if self.cpu is None:
            return np.full_like(self.turn_medians(), np.nan)
        percent = decode_bytes(self.cpu, sum(self.turns))
        kept = percent >= _UNDISTURBED * np.percentile(percent, 90)
        parts = np.split(kept, np.cumsum(self.turns)[:-1])
        turns = self.stage("inference")
        least = [min(_LEAST, len(turn)) for turn in turns]
        return self._medians(
            [
                turn[part] if part.sum() >= enough else np.array([np.nan])
                for turn, part, enough in zip(turns, parts, least, strict=True)
            ]
        )

    def _medians(self, turns: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        if not all(self.turns) or not self.turns or len(self.turns) % self.repeats:
            raise ValueError("damaged samples: turns without inferences")
        return np.array([np.median(turn) for turn in turns]).reshape(self.repeats, -1)


class NativeRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of a native tool printed, in milliseconds; None: its version does not.

    Attributes:
        n: Inferences.
        mean_ms: Of them.
        std_ms: Their standard deviation.
        min_ms: The fastest.
        median_ms: The 50th percentile.
        p95_ms: The 95th.
        max_ms: The slowest.
        window_s: When they began and ended, in seconds since the device was started; None: not known.
        footprint_mb: What the tool says that the model added to its memory.
    """

    n: Annotated[int, msgspec.Meta(ge=1)]
    mean_ms: Milliseconds
    std_ms: Milliseconds | None = None
    min_ms: Milliseconds | None = None
    median_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    max_ms: Milliseconds | None = None
    window_s: tuple[float, float] | None = None
    footprint_mb: float | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One model x device x runtime x number of threads.

    Attributes:
        model: As the user named it.
        device: Its name; "local" is the machine of the coordinator.
        runtime: What ran the model.
        runtime_version: Of its library; None: not recorded.
        threads: Of the runtime.
        latency_ms: Of the inference alone.
        memory_mb: Peak resident memory of the worker process: interpreter, libraries, model, buffers; None: not
            shown.
        energy_mj: Of an inference; None: see `energy_reason`.
        energy_reason: Why there is no figure, and what to do.
        valid: Whether the figures are to be trusted.
        invalid_reason: Why not.
        emulated: The device is an emulator: its times mean nothing.
        sha256: Of the model file.
        bytes: Its size.
        precision: Of the model, where its spec says.
        input: Width and height, where its spec says.
        precise: Whether the runtime was told to keep int8 sums from saturating, at some cost: onnxruntime is, on x86-64
            without VNNI (float models stay what they are). None: it has no such choice, or this is not recorded.
        preprocess_ms: Picture → input tensor; None where the model has no spec, or the device runs the network alone.
        postprocess_ms: Outputs → boxes; None likewise.
        total_ms: Picture → boxes; None likewise.
        start_ms: To load the runtime's library and the model: median of the repeats.
        load_ms: To load the model alone: median of the repeats.
        first_ms: The first inference: median of the repeats.
        base_memory_mb: Of the worker before it loaded the model, OpenCV and numpy included.
        repeats_ms: The median inference of each repeat: their spread.
        warm_up_s: The longest warm-up of the repeats.
        macs: Multiply-accumulates of an inference, where known.
        traffic_bytes: What an inference moves between processor and memory where no layer finds anything in the
            caches: the file once, each layer's output written and read once. None: not known.
        source: The file that it was exported from, and the first digits of a SHA-256 over all source files: files with
            the same one are one set of weights. None: its spec does not say.
        peak_share: 2 · macs / p50 as a fraction of the machine's measured fp32 peak with as many threads; None where
            one of them is not known, or that peak was disturbed.
        cpus: That the worker was kept to, where they differ in speed; None: any.
        detections: In the picture; None where the model has no spec.
        agreement: Of a device that runs the network alone: twice the overlap (IoU) of the boxes that its outputs and
            this machine's share, by the number of all boxes; 1: the same. None: not compared.
        snr_db: Of the same: 10·log10(Σ expected² / Σ (expected − found)²) over all outputs, this machine's being those
            expected; 200: equal. None: not compared.
        notes: What else to know.
        profile: Time by operator, where asked for.
        power: How the energy was found; None where there is none.
        samples: All of them; None in documents without.
        runs: Of a native tool, which gives no samples.
    """

    model: Name
    device: Name
    runtime: Name
    threads: Annotated[int, msgspec.Meta(ge=1)]
    latency_ms: Latency
    memory_mb: Megabytes | None
    energy_mj: Energy | None
    energy_reason: str | None
    valid: bool
    invalid_reason: str | None
    emulated: bool
    sha256: str
    bytes: Count
    runtime_version: str | None = None
    precision: str | None = None
    input: tuple[int, int] | None = None
    precise: bool | None = None
    preprocess_ms: Latency | None = None
    postprocess_ms: Latency | None = None
    total_ms: Latency | None = None
    start_ms: Milliseconds | None
    load_ms: Milliseconds | None
    first_ms: Milliseconds | None
    base_memory_mb: Megabytes | None = None
    repeats_ms: tuple[Milliseconds, ...]
    warm_up_s: float
    macs: Count | None = None
    traffic_bytes: Count | None = None
    source: str | None = None
    peak_share: float | None = None
    cpus: tuple[int, ...] | None = None
    detections: Count | None = None
    agreement: float | None = None
    snr_db: float | None = None
    notes: tuple[str, ...] = ()
    profile: Profile | None = None
    power: CellPower | None = None
    samples: Samples | None = None
    runs: tuple[NativeRun, ...] = ()


class CellRatio(msgspec.Struct, frozen=True, kw_only=True):
    """The inference time of one cell as a multiple of another's, from paired rounds.

    Attributes:
        a: The model of the one.
        b: That of the other, which is 1.
        ratio: Geometric mean over the rounds, winsorized.
        ci95: Its interval.
        verdict: "no difference" where the interval holds 1; "too few repeats" to tell where there are less than 3.
        rounds: That it is from: those in which no other program came between either of the two, where there are enough
            of them; else all.
        of_rounds: All of them.
        undisturbed: False: there were too few undisturbed rounds, and the ratio is from all; None: not
            recorded, or the device does not show it.
        threads_a: Threads of the one.
        threads_b: Threads of the other.
        runtime_a: What ran the one; None: not recorded, in results of one runtime a model.
        runtime_b: What ran the other.
    """

    a: Name
    b: Name
    ratio: Annotated[float, msgspec.Meta(gt=0)]
    ci95: tuple[float, float]
    verdict: RatioVerdict
    rounds: int
    of_rounds: int
    threads_a: int
    threads_b: int
    undisturbed: bool | None = None
    runtime_a: str | None = None
    runtime_b: str | None = None


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime that runs files of this kind, and could not run this model there.

    Attributes:
        model: As the user named it.
        runtime: Its name.
        reason: Why not, and what to do.
    """

    model: str
    runtime: str
    reason: str


class BenchmarkResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        schema: Version of this form: 1.
        host: The machine that was measured.
        settings: All of them.
        cells: What was measured.
        ratios: Of the cells with as many threads, to that of the first model, and to that of the same model in its
            first runtime; of a model's numbers of threads, to the first.
        left_out: Runtimes that were asked for and could not be measured.
        power: The meter and its readings; None where no power was read.
        conditions: Of the machine, in the order of time.
        tool: What wrote this, with its version.
        revision: The git revision of the folder that it was run in, with "-dirty" where files had changed; None where
            there is none.
        command: The command line.
        created: When it began: ISO 8601, UTC.
        seconds: How long it took; of a run that was resumed, the measuring alone.
    """

    schema: Literal[1]
    host: Host
    settings: Settings
    cells: tuple[Cell, ...]
    ratios: tuple[CellRatio, ...]
    left_out: tuple[LeftOut, ...] = ()
    power: Power | None = None
    conditions: tuple[Conditions, ...] = ()
    tool: str
    revision: str | None = None
    command: tuple[str, ...] = ()
    created: str
    seconds: float


def energy_scope(result: BenchmarkResult, cell: Cell) -> str | None:
    """What the energy of a cell is of; None where it has none. Figures of two never share a column."""
    if cell.energy_mj is None:
        return None
    return result.power.label if result.power else cell.energy_mj.scope


def key_of(cell: Cell) -> tuple[str, str, str, int]:
    """What makes a cell the same in two runs: the name of its file, the device, the runtime, the threads."""
    return (model_name(cell.model), cell.device, cell.runtime, cell.threads)


def cells_of(result: BenchmarkResult, ratio: CellRatio) -> tuple[Cell | None, Cell | None]:
    """The two cells that a ratio is of; None where the result has none."""
    sides = ((ratio.a, ratio.runtime_a, ratio.threads_a), (ratio.b, ratio.runtime_b, ratio.threads_b))
    first, second = (
        next(
            (
                cell
                for cell in result.cells
                if (cell.model, cell.threads) == (model, threads) and runtime in (None, cell.runtime)
            ),
            None,
        )
        for model, runtime, threads in sides
    )
    return first, second


def path_parts(model: str) -> list[str]:
    """Folders and file name, of any system's path."""
    return model.replace("\\", "/").split("/")


def model_name(model: str) -> str:
    """The file's name without its folder."""
    return path_parts(model)[-1]


def without_samples(result: BenchmarkResult) -> BenchmarkResult:
    """The same without raw samples and readings: what is printed."""
    return msgspec.structs.replace(
        result,
        cells=tuple(msgspec.structs.replace(cell, samples=None) for cell in result.cells),
        power=result.power and msgspec.structs.replace(result.power, repeats=()),
    )
