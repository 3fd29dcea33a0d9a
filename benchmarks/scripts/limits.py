"""What each model needs to hold a limit of accuracy in int8: a row of a table each, from the fronts of `export`.

    limits.py MODEL... --calibration DIR --data DATASET --min-agreement 0.97 -o DIR

Work that was interrupted goes on where it was (`--cache` of export).
"""

import argparse
from pathlib import Path

from yolo_edge.cli import main as yolo_edge
from yolo_edge.export.quantization.front import Front, read_front

COLUMNS = "| model | only float holds | groups in float | int8 convolutions | steering | judging | time | points |"


def main() -> None:
    """Export each model, and print its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help=".cfg or .onnx, as export takes them")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--data", help="labelled; without it some pictures of --calibration steer and judge")
    parser.add_argument("--min-agreement", type=float)
    parser.add_argument("--max-drop", type=float)
    parser.add_argument("--format", default="onnx", help="the file that is timed")
    parser.add_argument("--output", "-o", required=True, type=Path)
    options = parser.parse_args()
    print(COLUMNS)
    print(f"|{'---|' * (COLUMNS.count('|') - 1)}")
    for model in options.models:
        words = ["export", str(model), "--precision", "int8", "--calibration", options.calibration]
        words += ["--format", options.format, "-o", str(options.output)]
        for name in ("data", "min_agreement", "max_drop"):
            value = getattr(options, name)
            words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
        yolo_edge([*words, "--json"])
        found = sorted(options.output.glob(f"{model.stem}-*-int8.front.json"), key=lambda path: path.stat().st_mtime)
        front = read_front(found[-1]) if found else None
        print(f"| {model.stem} | {'no front' if front is None else row(front)} |", flush=True)


def row(front: Front) -> str:
    """What is said of one model."""
    if front.chosen is None:
        return f"yes: {front.limit} is not reachable | - | - | - | - | - | {len(front.points)}"
    point, judged = front.points[front.chosen], front.judged
    seen = [_said(point.agreement, point.drop)]
    seen.append("-" if judged is None else _said(judged.agreement, judged.drop))
    numbers = f"{len(point.floats)} of {len(front.groups)} | {point.int8} of {front.convolutions}"
    return f"no | {numbers} | {' | '.join(seen)} | {point.time:.2f} | {len(front.points)}"


def _said(agreement: float | None, drop: float | None) -> str:
    parts = [] if agreement is None else [f"{agreement:.3f}"]
    parts += [] if drop is None else [f"{drop:+.2f} points"]
    return ", ".join(parts) or "-"


if __name__ == "__main__":
    main()
