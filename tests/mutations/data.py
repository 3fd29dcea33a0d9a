"""Mutations of a cfg's bytes, and of the weights beside it."""

import struct
from collections.abc import Callable

from tests.mutations.draft import HEADER, Draft

_MAGICS = [
    b"PK\x03\x04",
    b"\x89HDF\r\n",
    b"\x80\x02}",
    b"[net]\n",
    b"<!DOCTYPE html>",
    b"\x7fELF",
    b"GIF89a",
    b"\x08\x07",
]


def _flip_bytes(draft: Draft) -> None:
    data = bytearray(draft.data)
    for _ in range(draft.rng.choice([1, 1, 4, 40])):
        if data:
            data[draft.rng.randrange(len(data))] ^= 1 << draft.rng.randrange(8)
    draft.data = bytes(data)


def _cut_bytes(draft: Draft) -> None:
    i, j = sorted(draft.rng.randrange(len(draft.data) + 1) for _ in range(2))
    draft.data = draft.rng.choice([draft.data[:i], draft.data[i:], draft.data[:i] + draft.data[j:]])


def _insert_bytes(draft: Draft) -> None:
    i = draft.rng.randrange(len(draft.data) + 1)
    bits = [b"\0", b"\0" * 1000, b"\xff", b"\x1a", b"\x1b[2J", b"\x0c", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80",
            b"\x7f", draft.rng.randbytes(100)]  # fmt: skip
    draft.data = draft.data[:i] + draft.rng.choice(bits) + draft.data[i:]


def _line_ends(draft: Draft) -> None:
    end = draft.rng.choice([b"\r", b"\r\n", b"\n\r", b"\r\r\n", b" ", b"", b"\x0b", b"\x85"])
    draft.data = draft.data.replace(b"\n", end)


def _byte_order_mark(draft: Draft) -> None:
    text = draft.data.decode("utf-8", "replace")
    draft.data = draft.rng.choice(
        [b"\xef\xbb\xbf" + draft.data, b"\xef\xbb\xbf" * 2 + draft.data, b"\xff\xfe" + draft.data,
         text.encode("utf-16"), text.encode("utf-32"), text.encode("utf-16-be")]
    )  # fmt: skip


def _other_content(draft: Draft) -> None:
    draft.data = draft.rng.choice(
        [b"", b"\n", b"[net]", draft.rng.randbytes(1000), draft.rng.choice(_MAGICS) * 20, draft.weights or b"\0" * 1000,
         b"[net]\nwidth=8\nheight=8\n" + draft.rng.randbytes(1000).replace(b"\0", b"1"), b"[" * 10_000, b"[net]\n" * 3]
    )  # fmt: skip


def _cut_weights(draft: Draft) -> None:
    weights = draft.weights or HEADER
    draft.weights = weights[: draft.rng.choice([0, 1, 11, 12, 15, 16, 17, 19, 20, 21, 24, len(weights) // 2, -1, -4])]


def _longer_weights(draft: Draft) -> None:
    draft.weights = (draft.weights or HEADER) + draft.rng.randbytes(draft.rng.choice([1, 3, 4, 400, 1_000_000]))


def _bad_numbers(draft: Draft) -> None:
    values = [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e30, 1e-45, -1e-43, -1e-6, -1.0, 0.0]
    weights = bytearray(draft.weights or HEADER)
    for _ in range(draft.rng.choice([1, 1, 10, 1000])):
        if len(weights) >= 24:
            place = draft.rng.randrange(5, len(weights) // 4) * 4
            weights[place : place + 4] = struct.pack("<f", draft.rng.choice(values))
    draft.weights = bytes(weights)


def _all_one_number(draft: Draft) -> None:
    value = draft.rng.choice([0.0, 3e38, -3e38, 1e30, 1e20, 1e-45, 1e-20, -1e-7])
    count = max(len(draft.weights or b"") - 20, 0) // 4
    draft.weights = (draft.weights or HEADER)[:20] + struct.pack("<f", value) * count


def _random_weights(draft: Draft) -> None:
    count = max(len(draft.weights or b"") - 20, 0)
    draft.weights = (draft.weights or HEADER)[:20] + draft.rng.randbytes(count)


def _weights_header(draft: Draft) -> None:
    numbers = [draft.rng.choice([0, 1, 2, 9, 10, 99, 100, -1, 2**31 - 1, -(2**31)]) for _ in range(3)]
    draft.weights = struct.pack("<iii", *numbers) + (draft.weights or HEADER)[12:]


def _foreign_weights(draft: Draft) -> None:
    draft.weights = draft.rng.choice([*_MAGICS, b"version https://git-lfs.github.com/spec/v1\noid"]) + (
        draft.weights or b""
    )


def _shifted_weights(draft: Draft) -> None:
    """The right length, but every number in another's place."""
    weights = draft.weights or HEADER
    shift = draft.rng.choice([1, 2, 4, 40])
    draft.weights = weights[:20] + weights[20 + shift :] + weights[20 : 20 + shift]


def _no_weights(draft: Draft) -> None:
    draft.weights = None


ON_BYTES: dict[str, Callable[[Draft], None]] = {
    "byte order mark": _byte_order_mark,
    "cut bytes": _cut_bytes,
    "flip bytes": _flip_bytes,
    "insert bytes": _insert_bytes,
    "line ends": _line_ends,
    "other content": _other_content,
}
ON_WEIGHTS: dict[str, Callable[[Draft], None]] = {
    "all one number": _all_one_number,
    "bad numbers": _bad_numbers,
    "cut weights": _cut_weights,
    "foreign weights": _foreign_weights,
    "longer weights": _longer_weights,
    "no weights": _no_weights,
    "random weights": _random_weights,
    "shifted weights": _shifted_weights,
    "weights header": _weights_header,
}
