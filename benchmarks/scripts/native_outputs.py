"""What native benchmark programs printed, in one table: for boards without a Python, and to compare with ours there.

    native_outputs.py benchncnn.txt perf_test.txt runs.json [--only yolo-fastest]

Outputs of TFLite's `benchmark_model`, `onnxruntime_perf_test`, `benchncnn`, and `hyperfine --export-json`. Milliseconds
and MB (10^6 bytes), as each program counts them; "-": it does not print that.
"""

import argparse
import sys
from pathlib import Path

from yolo_edge.devices.native import Timing, parse_output
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_bytes

_MOST_BYTES = 64 << 20
_FIGURES = ("mean", "p50", "p90", "p99", "min", "max", "first", "load", "memory_mb")


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="what a program printed")
    parser.add_argument("--only", default="", help="models or commands whose names have this in them")
    options = parser.parse_args()
    print_row(["file", "name", "threads", "n", *_FIGURES])
    print_row([*["---"] * 2, *["--:"] * (2 + len(_FIGURES))])
    for path in options.files:
        try:
            found = parse_output(read_bytes(path, _MOST_BYTES))
        except InputError as error:
            sys.exit(f"error: {path}: {error}")
        for timing in found:
            if options.only in (timing.name or ""):
                print_row([path.name, *cells(timing)])


def cells(timing: Timing) -> list[str]:
    """The figures of one line."""
    threads = "GPU" if timing.gpu else said(timing.threads)
    name = printable(timing.name or "-").replace("|", "\\|")
    return [name, threads, said(timing.n), *(said(getattr(timing, figure)) for figure in _FIGURES)]


def said(value: float | None) -> str:
    """Four digits that count."""
    return "-" if value is None else f"{value:.4g}"


def print_row(values: list[str]) -> None:
    """A row of a Markdown table."""
    print(f"| {' | '.join(values)} |")


if __name__ == "__main__":
    main()
