"""What mutations work on."""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEADER = struct.pack("<iiiq", 0, 2, 5, 0)


@dataclass
class Draft:
    """A case while mutations work on it: first on lines, then on bytes."""

    rng: random.Random
    lines: list[str]
    data: bytes
    weights: bytes | None

    def place(self, start: str = "") -> int | None:
        """The index of a random line that starts so; None where there is none."""
        found = [i for i, line in enumerate(self.lines) if line.startswith(start)]
        return self.rng.choice(found) if found else None

    def section(self) -> tuple[int, int]:
        """Where a random section starts and ends."""
        starts = [i for i, line in enumerate(self.lines) if line.startswith("[")] or [0]
        k = self.rng.randrange(len(starts))
        return starts[k], [*starts[1:], len(self.lines)][k]

    def put(self, key: str, value: object, kinds: Sequence[str] = ()) -> None:
        """Set a key in a random section, of one of `kinds` where there is one."""
        places = [i for i, line in enumerate(self.lines) if line.startswith("[") and line.strip("[]\r ") in kinds]
        start = self.rng.choice(places) if places else self.section()[0]
        # at the start of the section: the first of duplicate keys counts
        self.lines.insert(start + 1, f"{key}={value}")

    def length(self) -> int:
        """Of something absurdly long; the longest are rare, since they take the generator's own time."""
        return self.rng.choices([300, 3000, 30_000, 1_000_000], [3, 3, 3, 1])[0]
