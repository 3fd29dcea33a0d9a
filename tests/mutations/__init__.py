"""A table of named mutations that make darknet files hostile; `tests/hostile.py` draws from it."""

from tests.mutations.data import ON_BYTES, ON_WEIGHTS
from tests.mutations.lines import ON_LINES

MUTATIONS = {**ON_LINES, **ON_BYTES, **ON_WEIGHTS}
