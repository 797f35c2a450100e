"""A bound on what points against the others: an update that harms undoes what the others have learned.

Clipped and capped, one attacker of ten by seeds still takes a quarter of each round's progress, and no
length or weight gives it away. Its direction does: honest scalars along a seed have the same sign more
often than not. Related: Cao et al., FLTrust (NDSS 2021), where a trusted server's own direction is the
measure; here it is that of the other clients, each with one voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from antiphon.strategies.protection.agreement import UNKNOWN, Agreement, usual_agreement
from antiphon.strategies.protection.protection import FEWEST, Protection, Share, Usual

LEAST = 1e-3
"""What is left of a weight at least: a mean needs weights above zero."""


def agree(*, portion: Annotated[float, Field(gt=0, le=1)] = 0.25) -> Protection:
    """Let an update count in full only if it agrees with the others.

    portion: of the cohort's median agreement, from which on an update counts in full.
    """

    def limit(shares: Sequence[Share], usual: Usual) -> list[Share]:
        most = usual_agreement([each.agreement for each in shares])
        # Where the cohort agrees on nothing, it cannot say who is in the wrong.
        if len(shares) < FEWEST or not most > 0:
            return list(shares)
        counts = [_counts(each.agreement, portion * most) for each in shares]
        return [replace(s, weight=s.weight * c) for s, c in zip(shares, counts, strict=True)]

    return Protection(limit, reads_agreement=True)


def _counts(found: Agreement, enough: float) -> float:
    if found == UNKNOWN:
        return 1.0  # it has nothing in common with anybody, which says nothing against it
    share = (found.value + found.doubt) / (enough + found.doubt)
    return min(1.0, max(LEAST, share))
