"""Some dozens of the variants that `tools/fuzz_recognizer.py` makes."""

from pathlib import Path

import pytest

from tests.variants import check_variant, make_variant


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_variants_are_recognised_or_refused(start: int, tmp_path: Path) -> None:
    found = {number: check_variant(make_variant(1, number), tmp_path) for number in range(start, start + 10)}
    assert {number: result for number, result in found.items() if result not in ("recognised", "refused")} == {}
