"""In which order a client sees its examples: endless shuffled epochs that follow from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np


def order(seed: int, examples: int) -> Iterator[int]:
    """Yield indices below `examples` for ever; each epoch is one shuffle of all of them."""
    if examples < 1:
        raise ValueError(f"cannot order {examples} examples: there must be at least one")
    rng = np.random.Generator(np.random.Philox(seed))
    while True:
        yield from rng.permutation(examples).tolist()


def batches(seed: int, examples: int, size: int) -> Iterator[tuple[int, ...]]:
    """Yield full batches of `size` indices for ever; a batch may span two epochs."""
    indices = order(seed, examples)
    while True:
        yield tuple(islice(indices, size))
