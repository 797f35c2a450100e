"""Which of the K candidate seeds a client tries in a round: it cannot choose them itself.

A round may use a *pool* of the candidates instead of all, so that several clients try each seed and their
scalars can be compared. Each client goes through the pool in an order of its own, without repeating a seed
before all have had their turn. Pool and order follow from the run's key, the round and the assignment
alone. They are made of integers only (Philox and a stable sort), so that the coordinator can look whether
an update moved along the seeds that it was given, whatever version of numpy either side has.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from antiphon.core.directions import tensor_id
from antiphon.core.philox import MASK, philox4x32
from antiphon.core.types import Assignment

Indices = npt.NDArray[np.uint32]

_POOL = tensor_id("the seeds of a round")
_ORDER = tensor_id("a client's order of seeds")


def pool(key: int, number: int, num_seeds: int, size: int) -> Indices:
    """Return the candidates of round `number`, uint32. key: of the run; size: how many, 0 or K: all."""
    candidates = np.arange(num_seeds, dtype=np.uint32)
    if not 0 < size < num_seeds:
        return candidates
    return np.sort(_shuffled(candidates, key, number, _POOL)[:size])


def given(assignment: Assignment, key: int, num_seeds: int) -> Indices:
    """Return the seed of each step of an assignment with uniform draws, uint32 (steps,)."""
    candidates = pool(key, assignment.round, num_seeds, assignment.pool)
    turns = -(-assignment.steps // len(candidates))
    order = [
        _shuffled(candidates, assignment.seed, assignment.round, _ORDER ^ turn)
        for turn in range(turns)
    ]
    none = np.zeros(0, dtype=np.uint32)
    return np.concatenate([none, *order])[: assignment.steps]


def drawn(
    assignment: Assignment,
    key: int,
    num_seeds: int,
    probabilities: npt.NDArray[np.float64],
) -> Indices:
    """Return seeds drawn from the round's pool by probabilities (K,), uint32 (steps,)."""
    candidates = pool(key, assignment.round, num_seeds, assignment.pool)
    chances = probabilities[candidates]
    rng = np.random.Generator(np.random.Philox(key=[assignment.seed, assignment.round]))
    taken: Indices = rng.choice(candidates, size=assignment.steps, p=chances / chances.sum())
    return taken


def in_turn(sent: Indices, expected: Indices) -> bool:
    """Tell whether `sent` is `expected` with some left out: a step whose loss is not finite is not sent."""
    ahead = iter(expected.tolist())
    return all(each in ahead for each in sent.tolist())


def _shuffled(candidates: Indices, key: int, number: int, stream: int) -> Indices:
    """Return the candidates in the order of a random 64-bit number for each."""
    count = len(candidates)
    place = np.arange(count, dtype=np.uint64)
    turn, low, high = (
        np.full(count, part & MASK, dtype=np.uint64) for part in (number, stream, stream >> 32)
    )
    words = philox4x32(place, turn, low, high, key).astype(np.uint64)
    by = (words[:, 0] << np.uint64(32)) | words[:, 1]
    shuffled: Indices = candidates[np.argsort(by, kind="stable")]
    return shuffled
