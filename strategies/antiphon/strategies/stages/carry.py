"""Stage `carry`: what an adapter of rank r cannot hold of a round's mean waits for the next round.

The mean of the clients' products has a rank up to the sum of theirs; `product` keeps its r largest
components. The q next ones are kept here as factors and added to the next round's sum, as error feedback
does for codecs: over the rounds nothing of them is lost, and nothing more travels. FedEx-LoRA (Singhal et
al., arXiv 2410.09432) adds the same residual to the frozen weights, which clients must then receive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from antiphon.core.types import State
from antiphon.strategies.aggregation.contribution import Carried, Contribution
from antiphon.strategies.fold import Context, Moved, Seen, Stage, Turn
from antiphon.strategies.state import under

_NAME = "carry"


def carry(*, rank: Annotated[int, Field(ge=1)] = 8) -> Stage:
    """Carry on what the adapter's rank leaves out, as factors of this rank; its bytes stay here."""

    def each(state: State, contributions: Sequence[Contribution], context: Context) -> Seen:
        kept = {n: each.astype(np.float32, copy=False) for n, each in under(_NAME, state).items()}
        return Seen(contributions, carried=Carried(rank, kept))

    def after(kept: State, turn: Turn, context: Context) -> Moved:
        size = math.sqrt(sum(float(np.vdot(each, each)) for each in turn.left_out.values()))
        held = sum(each.nbytes for each in turn.left_out.values())
        report = {"carried_norm": size, "carried_bytes": float(held)}
        return Moved(turn.delta, dict(turn.left_out), report, params=turn.known)

    return Stage(_NAME, each=each, after=after, carries=True)
