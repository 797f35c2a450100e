"""A bound on weights: nobody can check how many examples a client holds.

A client counts at most `multiple` times the cohort's median weight. A site that is really larger loses some
of its say; one that claims a thousand million examples gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from antiphon.strategies.protection.protection import Protection, Share, Usual


def cap(
    *,
    multiple: Annotated[float, Field(ge=1, le=100)] = 2.0,
    most: Annotated[int, Field(ge=1)] | None = None,
) -> Protection:
    """Let no client weigh more than `multiple` times the cohort's median weight, nor than `most` examples.

    most: what the operator knows of the largest site; it holds for two clients too. none: no such bound.
    """

    def limit(shares: Sequence[Share], usual: Usual) -> list[Share]:
        bound = min(multiple * usual.weight, most or math.inf)
        return [replace(each, weight=min(each.weight, bound)) for each in shares]

    return Protection(limit)
