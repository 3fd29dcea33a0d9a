"""Give the recogniser of ONNX files variants of detectors: `python tools/fuzz_recognizer.py [--cases 1000] [--seed 0]`.

`--first NUMBER` begins there: a thousand may be taken in pieces.

Each (`tests/variants.py`) is to be recognised as what it is, or refused with the right message, and never misread. What
is not so is printed. `--only NUMBER` runs one again and keeps its file.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.variants import check_variant, make_variant  # noqa: E402


def main() -> int:
    """Run all cases, print what is wrong and a table; 1 when anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, default=ROOT / "build" / "fuzz", help="for --only (%(default)s)")
    parser.add_argument("--only", type=int, help="run this case alone")
    options = parser.parse_args()
    if options.only is not None:
        variant = make_variant(options.seed, options.only)
        options.save.mkdir(parents=True, exist_ok=True)
        print(f"{variant.label}\n{check_variant(variant, options.save)}\n{options.save / 'variant.onnx'}")
        return 0
    counts: Counter[tuple[str, str]] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for done, number in enumerate(range(options.first, options.first + options.cases), 1):
            variant = make_variant(options.seed, number)
            result = check_variant(variant, Path(folder))
            if result.startswith("WRONG"):
                wrong += 1
                print(f"{number}: {variant.label}\n    {result[:400]}")
            counts[variant.label.split()[0], result.split(":")[0]] += 1
            if done % 100 == 0:
                print(f"{done} cases, {wrong} wrong", file=sys.stderr)
    for (maker, result), count in sorted(counts.items()):
        print(f"{maker:12} {result:12} {count:6}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
