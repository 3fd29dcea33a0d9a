"""Whether the ratios can be trusted: the same file twice, and once with a delay that is known.

    python benchmarks/scripts/same_and_slower.py yolo-fastest-1.1-320-fp32.onnx

Quick runs of three cells side by side: a file, the same file again, and the file with inferences that a planted delay
makes longer by 3 %. Counts in how many the interval of the second's ratio to the first holds 1, the third is found to
be slower, and the interval of its ratio holds the planted one.
"""

import argparse
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from yolo_edge.benchmarks.benchmark import Benchmark
from yolo_edge.benchmarks.results import BenchmarkResult, CellRatio
from yolo_edge.benchmarks.rounds import Subject
from yolo_edge.benchmarks.settings import quick_settings
from yolo_edge.benchmarks.verdicts import busy_share
from yolo_edge.devices.agents import AgentProcess, local_command
from yolo_edge.ondevice.detector import Detector

SAME, DELAYED = "the same", "delayed"


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an exported .onnx")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--delay", type=float, default=0.03)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    spec = Detector(options.model).spec.to_json()
    subjects = [Subject(name, str(options.model.absolute()), "", 0, spec) for name in ("a", SAME, DELAYED)]
    settings = replace(quick_settings(), threads=(options.threads,), peak_s=0.0)
    delayed = [sys.executable, str(Path(__file__).with_name("delayed_agent.py")), str(options.delay)]

    def connect(what: str) -> AgentProcess:
        return AgentProcess(delayed if what.startswith(DELAYED) else local_command(), what)

    held = found = true = 0
    for number in range(options.runs):
        start = time.monotonic()
        result = Benchmark(subjects, settings, connect).run()
        same, slower = result.ratios
        held += same.verdict == "no difference"
        found += slower.verdict == "slower"
        true += slower.ci95[0] <= 1 + options.delay <= slower.ci95[1]
        print(
            f"{number + 1:3}  same {_text(same)}  delayed {_text(slower)}  p50 {result.cells[0].latency_ms.p50:.3f} ms,"
            f" others used {_busy(result)} of the CPU time, "
            f"{same.rounds} and {slower.rounds} of {same.of_rounds} rounds, {time.monotonic() - start:.0f} s",
            flush=True,
        )
    print(f"{options.model.name}, {options.runs} quick runs, {options.threads} thread(s)")
    print(f"  the same file twice: the interval holds 1 in {held}")
    print(f"  delayed by {options.delay:.0%}: found to be slower in {found}; the interval holds that in {true}")


def _text(ratio: CellRatio) -> str:
    return f"{ratio.ratio:.4f} [{ratio.ci95[0]:.4f}, {ratio.ci95[1]:.4f}]"


def _busy(result: BenchmarkResult) -> str:
    share, _ = busy_share(result.conditions[1:-1], result.host.cpu.cpus_in_all)
    return "an unknown share" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    main()
