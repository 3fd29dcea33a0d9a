"""TFLite's native tool `benchmark_model`: its command line, and what it prints beside the times."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from yolo_edge.devices.native import Timing, parse_benchmark_model
from yolo_edge.ondevice.errors import InputError

_NUMBER = r"-?\d+(?:\.\d+)?"
_DELEGATED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
# the node's kind; [start] in newer ones, [first], [avg ms], [%], [cdf%], [mem KB], [times called]; the name in brackets
_OPERATOR = re.compile(
    rf"^\s*(\w[\w ,()/-]*?)\s+(?:{_NUMBER}\s+)?{_NUMBER}\s+({_NUMBER})\s+{_NUMBER}%\s+{_NUMBER}%\s+{_NUMBER}\s+\d+"
    r"\s+\[([^\]]*)\]"
)


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
        timing: Of the inferences that count.
        delegate: Such as TfLiteXNNPackDelegate; None: not said.
        delegated: Nodes that it runs, and how many there are.
        operators: The profile, where asked for.
    """

    timing: Timing
    delegate: str | None
    delegated: tuple[int, int] | None
    operators: tuple[Operator, ...]

    @property
    def count(self) -> int:
        """Inferences."""
        return self.timing.n or 0

    @property
    def middle_ms(self) -> float:
        """Their median; of a tool that prints none their mean."""
        return self.timing.mean if self.timing.p50 is None else self.timing.p50


def longest_s(seconds: float) -> float:
    """After so many seconds it stops measuring, however few its inferences were; `seconds`: see `arguments`."""
    return max(600.0, 20 * seconds)


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
        f"--max_secs={longest_s(seconds):g}",
        "--warmup_runs=1",
        f"--warmup_min_secs={warm_up_s:g}",
    ]
    return [*found, "--enable_op_profiling=true"] if profile else found


def parse_report(text: str) -> Report:
    """What the tool, or the app by logcat, printed.

    Raises:
        InputError: It printed no result.
    """
    timing = parse_benchmark_model(text)
    if not timing.n or not 0 < timing.mean < math.inf:
        raise InputError(f"benchmark_model printed {timing.n} inferences of {timing.mean:g} ms")
    delegated = _DELEGATED.search(text)
    return Report(
        timing=timing,
        delegate=delegated[3] if delegated else None,
        delegated=(int(delegated[1]), int(delegated[2])) if delegated else None,
        operators=tuple(_operators(text)),
    )


def complaint(text: str) -> str:
    """The line that says most of why the tool failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"(?i)error|fail|cannot|not found|denied|linker", line)]
    return (errors or lines or ["it says nothing"])[-1]


def _operators(text: str) -> Sequence[Operator]:
    """Rows of "Run Order": after the last such heading, which is that of the inferences and not of the start."""
    block = re.split(r"=+ Run Order =+", text)[-1] if "Run Order" in text else ""
    block = re.split(r"={5}", block)[0]
    rows = []
    for line in block.splitlines():
        match = _OPERATOR.match(line)
        if match:
            rows.append(Operator(match[3][:200], match[1].strip(), float(match[2])))
    return sorted(rows, key=lambda row: -row.ms)
