"""A bound on weights: nobody can check how many examples a client holds.

A client counts at most `multiple` times the cohort's median weight. A site that is really larger loses some
of its say; one that claims a thousand million examples gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from antiphon.strategies.protection.protection import Protection, Share, Usual


def cap(*, multiple: Annotated[float, Field(ge=1, le=100)] = 2.0) -> Protection:
    """Let no client weigh more than `multiple` times the cohort's median weight."""

    def limit(shares: Sequence[Share], usual: Usual) -> list[Share]:
        bound = multiple * usual.weight
        return [replace(each, weight=min(each.weight, bound)) for each in shares]

    return Protection(limit)
