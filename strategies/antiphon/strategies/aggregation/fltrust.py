"""FLTrust (Cao et al., NDSS 2021): one client is known to be honest, and the others are held against it.

Published with a clean data set at the server. A coordinator here has no data and no model, so that the
trusted update is that of a client which the operator runs. With gᵢ the changes and t the trusted client:

    cᵢ = max(0, cos(gᵢ, g_t)) · ‖g_t‖ / ‖gᵢ‖ / Σⱼ max(0, cos(gⱼ, g_t))

Its own update counts with cosine 1. In a round without it nothing is believed: the model stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.core.types import Float64Array, Matrix
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.aggregation.reweighting import reweighting


def fltrust(*, trusted: str) -> Aggregation:
    """Weigh each client by how far it agrees with the client `trusted`, at that one's length."""

    def rule(clients: Sequence[str], weights: Float64Array, products: Matrix) -> Float64Array:
        lengths = np.sqrt(np.maximum(np.diag(products), 0.0))
        if trusted not in clients or not lengths[clients.index(trusted)] > 0:
            return np.zeros(len(clients))
        at = clients.index(trusted)
        moved = np.where(lengths > 0, lengths, np.inf)
        score = np.maximum(products[at] / (moved * lengths[at]), 0.0)
        coefficients: Float64Array = score * (lengths[at] / moved) / score.sum()
        return coefficients

    return reweighting(rule)
