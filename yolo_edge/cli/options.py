"""Options that several commands share, and the reading of their values."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from yolo_edge.ondevice.errors import InputError


def path(text: str) -> Path:
    """A path; the empty text is none, though Python takes it for the current folder.

    Raises:
        BadParameter: The text is empty.
    """
    if not text:
        raise typer.BadParameter("expected a path, got an empty text")
    return Path(text)


class Group(TyperGroup):
    """Commands whose summaries are shown whole, not cut off with an ellipsis; without arguments it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base class."""
        return super().parse_args(ctx, args or ["--help"])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """As the base class: the first paragraph of a command's help is its summary."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.help and not command.short_help:
            command.short_help = command.help.partition("\n\n")[0]
        return command


Model = Annotated[
    Path,
    typer.Argument(
        help="A darknet .cfg (its .weights beside it), an .onnx of another trainer, or an exported .onnx or .tflite.",
        metavar="MODEL",
        show_default=False,
        parser=path,
    ),
]
Source = Annotated[
    Path,
    typer.Argument(
        help="A darknet .cfg (its .weights beside it), or an .onnx of a family that is known (docs/families).",
        metavar="MODEL",
        show_default=False,
        parser=path,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="The .weights of a .cfg, when they are not beside it.", show_default=False, parser=path),
]
SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        help="A JSON file that says what an .onnx of another trainer is, where that is not recognised.",
        show_default=False,
        parser=path,
    ),
]
Anchors = Annotated[
    str | None,
    typer.Option(
        "--anchors",
        help="Anchors of an .onnx that does not hold them, from fine to coarse, in pixels of its input.",
        metavar="W,H,W,H,...",
        show_default=False,
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        help="Class names: coco, voc, or a file with one a line. Without it, 80 and 20 classes take COCO's and VOC's.",
        metavar="FILE|coco|voc",
        show_default=False,
    ),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Of models that are exported for this: 320 or 352x288 (width x height), with commas between.",
        metavar="LIST",
        show_default=False,
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="How a picture gets into the input. Default: as the model was trained.",
        metavar="stretch|letterbox",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="The folder of the pictures of a COCO or VOC dataset. Default: where they usually are.",
        show_default=False,
        parser=path,
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out pictures and labels that cannot be used, and count them.")
]
Threads = Annotated[int | None, typer.Option(help="Default: the runtime's choice.", show_default=False)]
Runtime = Annotated[str, typer.Option(help="auto, onnxruntime, openvino, opencv or tflite.")]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast", help="Inexact kernels: int8 sums saturate (onnxruntime, x86 without VNNI), 16-bit floats (openvino)."
    ),
]
ExactResize = Annotated[
    bool,
    typer.Option(
        "--exact-resize", help="Resize pictures to the same bits on all CPUs, as comparisons want it; slower."
    ),
]
DeviceName = Annotated[
    str, typer.Option("--device", help="Where to run: a name from `yolo-edge devices list`.", metavar="NAME")
]
InventoryFile = Annotated[
    Path | None,
    typer.Option(
        "--inventory", help="Of devices. Default: ~/.config/yolo-edge/devices.toml.", show_default=False, parser=path
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


def split(text: str, option: str) -> list[str]:
    """The values between the commas of an option, without repetitions.

    Raises:
        InputError: There is none, or an empty one.
    """
    values = [part.strip() for part in text.split(",")]
    if not all(values):
        raise InputError(f"--{option} {text!r}: expected values between commas")
    return list(dict.fromkeys(values))


def sizes(text: str | None, option: str = "size") -> list[tuple[int, int] | None]:
    """`320,352x288` → [(320, 320), (352, 288)]; nothing → [None], the model's own size.

    Raises:
        InputError: One of them is no size.
    """
    if text is None:
        return [None]
    found: list[tuple[int, int] | None] = []
    for part in split(text, option):
        match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", part)
        if match is None:
            raise InputError(f"--{option} {part!r}: expected a size such as 320, or 352x288 (width x height)")
        width, height = match.groups()
        size = (int(width), int(height or width))
        if size not in found:
            found.append(size)
    return found


def anchors(text: str | None) -> list[tuple[float, float]]:
    """`10,13,16,30` → [(10, 13), (16, 30)]; nothing → none.

    Raises:
        InputError: They are no pairs of numbers above 0.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if len(parts) % 2 or not all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", part) for part in parts):
        raise InputError(f"--anchors {text!r}: expected pairs of a width and a height in pixels, such as 10,13,16,30")
    sides = [float(part) for part in parts]
    if min(sides) <= 0:
        raise InputError(f"--anchors {text!r}: expected sides above 0")
    return list(zip(sides[::2], sides[1::2], strict=True))


def sized_name(model: Path, size: tuple[int, int] | None) -> str:
    """What a model is called at a size of its own: `model.cfg@320`; without one as it was named."""
    if size is None:
        return str(model)
    width, height = size
    return f"{model}@{width}" if width == height else f"{model}@{width}x{height}"


def check_resize(resize: str | None) -> None:
    """Check the value of `--resize`.

    Raises:
        InputError: It is neither stretch nor letterbox.
    """
    if resize not in (None, "stretch", "letterbox"):
        raise InputError(f"--resize {resize!r}: expected stretch or letterbox")
