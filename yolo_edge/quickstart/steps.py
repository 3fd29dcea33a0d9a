"""The commands of the quickstart, as a user would type them in its folder."""

import shlex
from dataclasses import dataclass

from yolo_edge.sample import CFG, NAMES
from yolo_edge.sample.scenes import Part

MODEL, SCENES = f"model/{CFG.name}", "scenes"
DATA = f"{SCENES}/data.yaml"
SEED = 3  # the model was trained on scenes of seed 1 and judged on those of seed 2
PARTS = {"train": (Part(SEED, 128),), "val": (Part(SEED, 72, start=1000), Part(SEED, 24, codes=False))}
PICTURES = 12
FORMATS, PRECISIONS = ("onnx", "tflite"), ("fp32", "fp16", "int8")
FILES = tuple(f"out/{CFG.stem}-320-{precision}.{form}" for form in FORMATS for precision in PRECISIONS)


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        arguments: Of `yolo-edge`.
        does: What it is for, in one sentence.
        keep: The file for what it prints, in the folder.
    """

    arguments: tuple[str, ...]
    does: str
    keep: str

    @property
    def command(self) -> str:
        """As it is typed."""
        return f"{shlex.join(('yolo-edge', *self.arguments))} > {shlex.quote(self.keep)}"

    @property
    def name(self) -> str:
        """Of the command."""
        return self.arguments[0]


def steps(pictures: tuple[str, ...]) -> tuple[Step, ...]:
    """All commands but the last, which needs the name of the benchmark's result.

    Args:
        pictures: Paths of pictures to show, relative to the folder.
    """
    sizes = ("--size", "320")
    return (
        Step(
            ("anchors", DATA, "--cfg", MODEL, "--resize", "stretch", *sizes, "--plot", "anchors.svg", "--json"),
            "Cluster the boxes of the scenes, and compare the model's anchors with that.",
            "anchors.json",
        ),
        Step(
            (
                *("export", MODEL, "--names", f"model/{NAMES.name}", "--format", ",".join(FORMATS)),
                *("--precision", ",".join(PRECISIONS), "--calibration", DATA, "-o", "out", "--json"),
            ),
            "Write ONNX and TFLite files in three precisions; each is run and compared with the source.",
            "export.json",
        ),
        Step(
            ("validate", *FILES, "--data", DATA, "--json"),
            "Measure how well each still detects, on scenes that nothing was calibrated with.",
            "validate.json",
        ),
        Step(
            ("benchmark", *FILES, "--quick", "--threads", "1", "--restart", "-o", "results", "--json"),
            "Measure latency and memory on this machine, in interleaved rounds.",
            "benchmark.json",
        ),
        Step(
            ("detect", FILES[-1], *pictures, "--save", "pictures", "--json"),
            "Find the codes with the smallest file, and draw them.",
            "detections.json",
        ),
    )


def report(result: str) -> Step:
    """The last command.

    Args:
        result: Path of the benchmark's result, relative to the folder.
    """
    return Step(
        ("report", result, "--accuracy", "validate.json", "-o", "report.html", "--json"),
        "Make a page with all figures and their conditions.",
        "report.json",
    )
