"""One-dimensional codes as runs of modules: EAN-13, EAN-8, UPC-A (ISO/IEC 15420) and Code 128 (ISO/IEC 15417)."""

from collections.abc import Sequence

_LEFT = ("0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111", "0001011")
_RIGHT = tuple(code.translate({48: "1", 49: "0"}) for code in _LEFT)
_EVEN = tuple(code[::-1] for code in _RIGHT)
# which of the six left digits have even parity says the first digit, which has no bars of its own
_PARITY = ("000000", "001011", "001101", "001110", "010011", "011001", "011100", "010101", "010110", "011010")

# widths of bar, space, bar, space, bar, space for the values 0..105; the stop has a seventh
_CODE128 = (
    "212222", "222122", "222221", "121223", "121322", "131222", "122213", "122312", "132212", "221213", "221312",
    "231212", "112232", "122132", "122231", "113222", "123122", "123221", "223211", "221132", "221231", "213212",
    "223112", "312131", "311222", "321122", "321221", "312212", "322112", "322211", "212123", "212321", "232121",
    "111323", "131123", "131321", "112313", "132113", "132311", "211313", "231113", "231311", "112133", "112331",
    "132131", "113123", "113321", "133121", "313121", "211331", "231131", "213113", "213311", "213131", "311123",
    "311321", "331121", "312113", "312311", "332111", "314111", "221411", "431111", "111224", "111422", "121124",
    "121421", "141122", "141221", "112214", "112412", "122114", "122411", "142112", "142211", "241211", "221114",
    "413111", "241112", "134111", "111242", "121142", "121241", "114212", "124112", "124211", "411212", "421112",
    "421211", "212141", "214121", "412121", "111143", "111341", "131141", "114113", "114311", "411113", "411311",
    "113141", "114131", "311141", "411131", "211412", "211214", "211232",
)  # fmt: skip
_START_B, _STOP = 104, "2331112"


def check_digit(digits: Sequence[int]) -> int:
    """The last digit of an EAN or UPC number from those before it (ISO/IEC 15420, annex A)."""
    return -sum(digit * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits))) % 10


def ean13(digits: Sequence[int]) -> str:
    """95 modules, "1" for a bar, of twelve digits; the check digit is added. UPC-A is what begins with 0."""
    first, *rest = (*digits, check_digit(digits))
    left = "".join(
        (_EVEN if even == "1" else _LEFT)[digit] for digit, even in zip(rest[:6], _PARITY[first], strict=True)
    )
    return "101" + left + "01010" + "".join(_RIGHT[digit] for digit in rest[6:]) + "101"


def ean8(digits: Sequence[int]) -> str:
    """67 modules of seven digits; the check digit is added."""
    every = (*digits, check_digit(digits))
    return (
        "101"
        + "".join(_LEFT[digit] for digit in every[:4])
        + "01010"
        + "".join(_RIGHT[digit] for digit in every[4:])
        + "101"
    )


def code128(text: str) -> str:
    """Modules of a text of printable ASCII, in code set B.

    Raises:
        ValueError: Another character.
    """
    values = [ord(character) - 32 for character in text]
    if not all(0 <= value < 95 for value in values):
        raise ValueError(f"Code 128, set B, has no way to write {text!r}")
    check = (_START_B + sum(place * value for place, value in enumerate(values, 1))) % 103
    widths = "".join(_CODE128[value] for value in (_START_B, *values, check)) + _STOP
    return "".join("10"[place % 2] * int(width) for place, width in enumerate(widths))
