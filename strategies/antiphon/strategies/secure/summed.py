"""What a fold makes of updates under masks: the one contribution of the whole cohort."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Final, cast

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, Update
from antiphon.strategies.aggregation.contribution import Contribution, Tensors
from antiphon.strategies.fold import Context
from antiphon.strategies.secure.names import MASK, MASKED, REFUSED, TRAINED, UNMASKING
from antiphon.strategies.secure.packed import packed_bytes, unpack
from antiphon.strategies.secure.session import Octets, checked_octets, names_of
from antiphon.strategies.secure.terms import BEHIND, MaskedWords, SumTerms, among_of, flat, shaped

COHORT: Final = "(the cohort)"
"""The client that a fold sees where it sees none."""


def check_masked(terms: SumTerms, start: Tensors, update: Update, assignment: Assignment) -> None:
    """Raise UpdateError for an update that is not a masked vector of the round's size."""
    words = flat(start).size + BEHIND
    bits = terms.grid(among_of(assignment.told).members).modulus_bits
    arrays = update.payload.arrays
    if set(arrays) != {MASKED}:
        raise UpdateError(f"got {sorted(arrays)[:4]}, but the round asked for a masked vector")
    unpack(checked_octets(arrays, MASKED, packed_bytes(words, bits)), words, bits)


def summed(
    terms: SumTerms, start: Tensors, scale: float, updates: Iterable[Update], context: Context
) -> tuple[Contribution, dict[str, float]]:
    """Return the mean of a round's updates as one contribution, and numbers for the journal.

    scale: see Contribution. Raises UpdateError where the round has no sum: a share that was false, or
    updates of others than those whose masks are known.
    """
    known = context.known[UNMASKING]
    if REFUSED in known:
        raise UpdateError(known[REFUSED].tobytes().decode())
    whom, mask = among_of(known), cast(MaskedWords, known[MASK])
    bits, there = terms.grid(whom.members).modulus_bits, []
    top = mask.dtype.type((1 << bits) - 1)
    total, losses = np.zeros_like(mask), list[float]()
    for update in updates:
        there.append(update.client)
        total = (total + unpack(_vector(update), len(mask), bits)) & top
        losses += [update.metrics["loss"]] if "loss" in update.metrics else []
    if sorted(there) != list(names_of(known[TRAINED])):
        raise UpdateError(
            "a client whose update is in the sum has left the run since: without it the masks do not cancel"
        )
    found = terms.mean((total - mask) & top, len(there), whom)
    whole = Contribution(
        client=COHORT,
        weight=found.examples,
        start=start,
        delta=shaped(found.values, start),
        scale=scale,
        loss=statistics.median(losses) if losses else None,
    )
    return whole, {"clipped": found.clipped}


def _vector(update: Update) -> Octets:
    return cast(Octets, update.payload.arrays[MASKED])
