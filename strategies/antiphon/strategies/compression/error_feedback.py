"""Error feedback: what a codec lost in one round is added to what it packs in the next.

    p_t = Δ_t + γ·e_t,   send C(p_t),   e_{t+1} = p_t − C(p_t)

Seide et al. 2014; Karimireddy et al. 2019 prove that it mends any contractive codec. With γ = 1 nothing
is lost: Σ sent + last residual = Σ Δ. A client that was away takes γ < 1, as its residual is stale.
"""

from __future__ import annotations

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params


def corrected(delta: Params, residual: Params, decay: float = 1.0) -> dict[str, FloatArray]:
    """Return Δ + decay·e, to be packed. An empty residual is zero (a client's first round).

    Raises UpdateError where the residual belongs to other tensors than the delta.
    """
    if not residual:
        return {name: np.array(delta[name], np.float32) for name in delta}
    _expect_same(delta, residual)
    factor = np.float32(decay)
    return {name: delta[name] + factor * residual[name] for name in delta}


def residual(corrected: Params, decoded: Params) -> dict[str, FloatArray]:
    """Return p − C(p), to be kept for the next round. Raises UpdateError for other tensors."""
    _expect_same(corrected, decoded)
    return {name: corrected[name] - decoded[name] for name in corrected}


def _expect_same(ours: Params, theirs: Params) -> None:
    if set(ours) != set(theirs):
        odd = sorted(set(ours) ^ set(theirs))[:3]
        raise UpdateError(f"error feedback: only one side has the tensors {odd}; drop the residual")
    for name in ours:
        if ours[name].shape != theirs[name].shape:
            raise UpdateError(
                f"error feedback: {name} is {ours[name].shape} on one side and {theirs[name].shape} "
                "on the other; drop the residual when the rank or the model changes"
            )
