"""Some dozens of the variants that `tools/fuzz_recognizer.py` makes."""

import random
from pathlib import Path

import pytest

from tests.export import foreign
from tests.variants import Variant, check_variant, make_variant, shape_arithmetic


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_variants_are_recognised_or_refused(start: int, tmp_path: Path) -> None:
    found = {number: check_variant(make_variant(1, number), tmp_path) for number in range(start, start + 10)}
    assert {number: result for number, result in found.items() if result not in ("recognised", "refused")} == {}


def test_shuffles_that_were_not_simplified(tmp_path: Path) -> None:
    """The shape of each is known only when that of the one before is."""
    model = foreign.nanodet(kind="split")
    before = len(model.graph.node)
    shape_arithmetic(model, random.Random(0))  # noqa: S311 - no secrets
    assert len(model.graph.node) >= before + 3 * 10
    variant = Variant("nanodet", model, "dfl", (8, 16, 32), 3)
    assert check_variant(variant, tmp_path) == "recognised"
