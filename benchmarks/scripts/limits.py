"""What each model needs to hold a limit of accuracy in int8: a row of a table each, from the fronts of `export`.

    limits.py MODEL... --calibration DIR --data DATASET --min-agreement 0.97 -o DIR

Intervals are of 95 %, by a bootstrap over pictures. Reversals: pairs of points of which the one with more in float is
worse, beyond their intervals; none where the front is monotone within noise. Work that was interrupted goes on where it
was (`--cache` of export).
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from yolo_edge.cli import main as yolo_edge
from yolo_edge.export.quantization.front import Front, Judged, Point, read_front, reversals

COLUMNS = (
    "model",
    "groups in float",
    "int8 convolutions",
    "agreement, steering",
    "judging",
    "drop of mAP50, judging",
    "time",
    "points",
    "reversals",
)
OF_POINTS = ("model", "groups in float", "int8 convolutions", "agreement, steering", "drop of mAP50, steering", "time")


def main() -> None:
    """Export each model, and print its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help=".cfg or .onnx, as export takes them")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--data", help="labelled; without it some pictures of --calibration steer and judge")
    parser.add_argument("--anchors", help="of an .onnx that does not hold them")
    parser.add_argument("--min-agreement", type=float)
    parser.add_argument("--max-drop", type=float)
    parser.add_argument("--format", default="onnx", help="the file that is timed")
    parser.add_argument("--output", "-o", required=True, type=Path, help="a folder; one for each model in it")
    parser.add_argument("--points", action="store_true", help="all points of each front too")
    options = parser.parse_args()
    fronts: dict[str, Front] = {}
    print_row(COLUMNS)
    print_row(["---"] * len(COLUMNS))
    for model in options.models:
        folder = options.output / model.stem
        words = ["export", str(model), "--precision", "int8", "--calibration", options.calibration]
        words += ["--format", options.format, "-o", str(folder)]
        for name in ("data", "anchors", "min_agreement", "max_drop"):
            value = getattr(options, name)
            words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
        with contextlib.redirect_stdout(sys.stderr):
            code = yolo_edge(words)
        if code > 2:  # interrupted
            sys.exit(code)
        written = sorted(folder.glob("*-int8.front.json"), key=lambda path: path.stat().st_mtime)
        front = read_front(written[-1]) if written else None
        print_row([model.stem, *(["no front", f"exit code {code}"] if front is None else cells(front))])
        if front is not None:
            fronts[model.stem] = front
    if options.points:
        print()
        print_row(OF_POINTS)
        print_row(["---"] * len(OF_POINTS))
        for name, front in fronts.items():
            for point in front.points:
                print_row([name, *of_point(point, front)])


def cells(front: Front) -> list[str]:
    """What is said of one model."""
    pairs = reversals(front.points, drops=front.limit.startswith("max-drop"))
    end = [str(len(front.points)), ", ".join(f"{first}-{second}" for first, second in pairs) or "none"]
    if front.chosen is None:
        return [f"{front.limit} is not reachable", "", "", "", "", "", *end]
    point = front.points[front.chosen]
    return [*of_point(point, front)[:3], *of_judged(front.judged), f"{point.time:.2f}", *end]


def of_point(point: Point, front: Front) -> list[str]:
    """Groups in float, convolutions, agreement, drop and time."""
    numbers = [f"{len(point.floats)} of {len(front.groups)}", f"{point.int8} of {front.convolutions}"]
    return [*numbers, agreement(point), drop(point), f"{point.time:.2f}"]


def of_judged(judged: Judged | None) -> list[str]:
    """Agreement and drop."""
    return ["-", "-"] if judged is None else [agreement(judged), drop(judged)]


def agreement(found: Point | Judged) -> str:
    """With its interval."""
    return said(found.agreement, found.agreement_interval, ".3f")


def drop(found: Point | Judged) -> str:
    """In points of mAP50, with its interval."""
    return said(found.drop, found.interval, "+.2f")


def said(value: float | None, interval: tuple[float, float] | None, form: str) -> str:
    """A figure with its interval."""
    if value is None:
        return "-"
    ends = "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
    return f"{value:{form}}{ends}"


def print_row(values: Sequence[str]) -> None:
    """A row of a Markdown table."""
    print(f"| {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
