"""How a delta travels under masks: whole numbers that mean nothing without those of the others.

No config names it: `privacy.secure_aggregation` puts it around a role's own form, which finds the delta.
"""

from __future__ import annotations

import math

from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.form import Form
from antiphon.strategies.secure.names import MASKED
from antiphon.strategies.secure.terms import BEHIND, SumTerms
from antiphon.strategies.spaces.space import Space

_MOST_FOR_SUM = 10  # bits of a sum beside those of a number: of a thousand clients


def masked(terms: SumTerms, space: Space) -> Form:
    """Return the form in which members of a secure sum send."""

    def size(numbers: int, codec: Codec | None, steps: int) -> float:
        summed = space.num_seeds or numbers
        return math.ceil((summed + BEHIND) * (terms.bits + _MOST_FOR_SUM) / 8)

    return Form(
        kind=MASKED,
        packs=True,
        walks=False,
        says="the change of every trained number under masks, which only the cohort's sum is without",
        size=size,
        tensors=False,
    )
