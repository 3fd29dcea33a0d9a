"""Which input sizes a network may be given, whatever its family."""

from yolo_edge.ondevice.errors import InputError

MAX_SIDE = 2048  # at 4096 even Yolo-Fastest takes 7 GB to verify


def check_sides(size: tuple[int, int]) -> None:
    """Check an input size (width, height).

    Raises:
        InputError: A side is out of 1..`MAX_SIDE`.
    """
    for side in size:
        if not 1 <= side <= MAX_SIDE:
            raise InputError(f"size {size[0]}x{size[1]}: expected 1..{MAX_SIDE} pixels a side")


def check_stride(size: tuple[int, int], stride: int, model: str) -> None:
    """Check that the coarsest head, of this stride, tiles the input; `model` is the file's name, for the error.

    Raises:
        InputError: It does not; the message names the nearest sizes that it does tile.
    """
    if size[0] % stride or size[1] % stride:
        near = sorted({max(side // stride + up, 1) * stride for side in size for up in (0, 1)})
        raise InputError(
            f"size {size[0]}x{size[1]}: {model} needs multiples of {stride}, such as {' or '.join(map(str, near))}"
        )
