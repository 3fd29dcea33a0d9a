"""Bars are read back by ZXing, which is not ours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_edge.sample.scenes.barcodes import check_digit, code128, ean8, ean13

zxingcpp = pytest.importorskip("zxingcpp", reason="no zxing-cpp for this Python")


def read(modules: str) -> list[tuple[str, str]]:
    """Format and text of what ZXing finds in black bars of three pixels a module."""
    row = np.repeat(np.array([0 if module == "1" else 255 for module in modules], np.uint8), 3)
    picture = np.pad(np.tile(row, (60, 1)), 40, constant_values=255)
    return [(code.format.name, code.text) for code in zxingcpp.read_barcodes(picture)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=12, max_size=12))
def test_ean13_and_upc(digits: list[int]) -> None:
    text = "".join(map(str, (*digits, check_digit(digits))))
    assert read(ean13(digits))[0][1] == text


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=7, max_size=7))
def test_ean8(digits: list[int]) -> None:
    assert ("EAN8", "".join(map(str, (*digits, check_digit(digits))))) in read(ean8(digits))


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_code128(text: str) -> None:
    assert ("Code128", text) in read(code128(text))


def test_code128_says_what_it_cannot_write() -> None:
    with pytest.raises(ValueError, match="no way to write 'ä'"):
        code128("ä")


def test_check_digits_of_known_numbers() -> None:
    # the examples of GS1's "How to calculate a check digit manually"
    assert check_digit([int(digit) for digit in "629104150021"]) == 3
    assert check_digit([int(digit) for digit in "9638507"]) == 4
