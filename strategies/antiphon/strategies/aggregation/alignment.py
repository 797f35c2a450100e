"""Turn new factors towards the old ones, so that server momentum sees a continuous path.

B·A = (BQ)(QᵀA) for every orthogonal Q: a product does not fix its factors. The rotation that
minimises ‖BQ − B_g‖² + ‖QᵀA − A_g‖² is the orthogonal Procrustes solution (Schönemann 1966): with
BᵀB_g + AA_gᵀ = UΣVᵀ, it is Q = UVᵀ.
"""

from __future__ import annotations

import numpy as np

from antiphon.strategies.aggregation.adapter import Factors


def align(factors: Factors, reference: Factors) -> Factors:
    """Rotate the factors towards the reference of the same rank; their product stays what it is."""
    u, _, vt = np.linalg.svd(factors.b.T @ reference.b + factors.a @ reference.a.T)
    q = u @ vt
    return Factors(factors.b @ q, q.T @ factors.a)
