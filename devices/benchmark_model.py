"""TFLite's native tool `benchmark_model`: its command line, and what it prints.

Versions differ: newer ones add percentiles, the app logs through logcat, some lines are lost with a log's beginning.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_COUNT = re.compile(rf"\bcount=(\d+)((?: \w+={_NUMBER})+)")
_PAIR = re.compile(rf"(\w+)={_NUMBER}")
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, "
    rf"Inference \(avg\): {_NUMBER}"
)
_MEMORY = re.compile(rf"[Mm]emory footprint[^:]*\(MB\): init={_NUMBER} overall={_NUMBER}")
_DELEGATED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
# node type, then nine columns; or, in older ones, the same with other widths. The name is in brackets at the end
_OPERATOR = re.compile(
    rf"^\s*(\w[\w ,()/-]*?)\s+(?:{_NUMBER}\s+)?{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}%\s+{_NUMBER}%\s+{_NUMBER}\s+(\d+)"
    r"\s+\[([^\]]*)\]"
)


@dataclass(frozen=True)
class Runs:
    """A line of statistics, times in milliseconds; None: this version does not print it.

    Attributes:
        count: Inferences.
        first: The first of them.
        minimum: The fastest.
        maximum: The slowest.
        mean: Of all.
        std: Their standard deviation.
        p5: The 5th percentile.
        median: The 50th.
        p95: The 95th.
    """

    count: int
    first: float | None
    minimum: float | None
    maximum: float | None
    mean: float
    std: float | None
    p5: float | None
    median: float | None
    p95: float | None


@dataclass(frozen=True)
class Operator:
    """A node of the profile: mean milliseconds of an inference."""

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Report:
    """What one run of the tool printed.

    Attributes:
        measured: The inferences that count.
        init_ms: To load the model.
        first_ms: The first inference, of the warm-up.
        memory_mb: What the tool thinks that the model added to its memory, at the most.
        delegate: Such as TfLiteXNNPackDelegate; None: not said.
        delegated: Nodes that it runs, and how many there are.
        operators: The profile, where asked for.
    """

    measured: Runs
    init_ms: float | None
    first_ms: float | None
    memory_mb: float | None
    delegate: str | None
    delegated: tuple[int, int] | None
    operators: tuple[Operator, ...]


def arguments(model: str, threads: int, *, runs: int, seconds: float, warm_up_s: float, profile: bool) -> list[str]:
    """The tool's flags.

    Args:
        model: Path of a .tflite file there.
        threads: Of the runtime.
        runs: Inferences, at least.
        seconds: The same.
        warm_up_s: Of inferences that do not count.
        profile: Time by operator.
    """
    found = [
        f"--graph={model}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        f"--min_secs={seconds:g}",
        f"--max_secs={max(600.0, 20 * seconds):g}",
        "--warmup_runs=1",
        f"--warmup_min_secs={warm_up_s:g}",
    ]
    return [*found, "--enable_op_profiling=true"] if profile else found


def parse_report(text: str) -> Report:
    """What the tool, or the app by logcat, printed.

    Raises:
        ValueError: There is no line of statistics.
    """
    found = [_runs(match) for match in _COUNT.finditer(text)]
    if not found:
        raise ValueError("benchmark_model printed no line with count=")
    timings = _TIMINGS.search(text)
    memory = [float(match[2]) for match in _MEMORY.finditer(text)]
    delegated = _DELEGATED.search(text)
    return Report(
        measured=found[-1],  # before it, if at all, that of the warm-up
        init_ms=float(timings[1]) / 1e3 if timings else None,
        first_ms=float(timings[2]) / 1e3 if timings else None,
        memory_mb=memory[-1] if memory else None,
        delegate=delegated[3] if delegated else None,
        delegated=(int(delegated[1]), int(delegated[2])) if delegated else None,
        operators=tuple(_operators(text)),
    )


def complaint(text: str) -> str:
    """The line that says most of why the tool failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"(?i)error|fail|cannot|not found|denied|linker", line)]
    return (errors or lines or ["it says nothing"])[-1]


def _runs(match: "re.Match[str]") -> Runs:
    values = {key: float(value) / 1e3 for key, value in _PAIR.findall(match[2])}
    count, mean = int(match[1]), values.get("avg", values.get("curr"))
    if mean is None or not math.isfinite(mean) or mean <= 0 or count < 1:
        raise ValueError(f"benchmark_model printed {match[0][:200]!r}")
    keys = ("first", "min", "max", "std", "p5", "median", "p95")
    first, low, high, std, p5, middle, p95 = (values.get(key) for key in keys)
    return Runs(count, first, low, high, mean, std, p5, middle, p95)


def _operators(text: str) -> Sequence[Operator]:
    """Rows of "Run Order": after the last such heading, which is that of the inferences and not of the start."""
    block = re.split(r"=+ Run Order =+", text)[-1] if "Run Order" in text else ""
    block = re.split(r"={5}", block)[0]
    rows = []
    for line in block.splitlines():
        match = _OPERATOR.match(line)
        if match:
            rows.append(Operator(match[9].split(":")[0][:200], match[1].strip(), float(match[4])))
    return sorted(rows, key=lambda row: -row.ms)
