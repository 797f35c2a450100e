"""Norm clipping with a bound that the cohort itself gives.

An update may reach `multiple` times as far as the cohort's median one; a longer one counts in part, its
direction kept. So f attackers among n clients move the model by less than multiple · f / n median updates,
whatever they send. Clipping before a mean: Sun et al., "Can You Really Backdoor Federated Learning?"
(2019); that it suffices where attackers are few: Shejwalkar et al. (IEEE S&P 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from antiphon.strategies.protection.protection import Protection, Share, Usual


def clip(*, multiple: Annotated[float, Field(ge=1, le=100)] = 1.5) -> Protection:
    """Let no update move the model farther than `multiple` times the cohort's median one."""

    def limit(shares: Sequence[Share], usual: Usual) -> list[Share]:
        bound = multiple * usual.reach
        return [_within(each, bound) for each in shares]

    return Protection(limit, reads_reach=True)


def _within(share: Share, bound: float) -> Share:
    if not share.reach * share.factor > bound:
        return share
    return replace(share, factor=bound / share.reach)
