"""Sums of low-rank products through a small core: never a d_out × d_in matrix.

A sum Σ cᵢBᵢAᵢ is [B₁|…|B_N] · [c₁A₁; …; c_NA_N]. With Q_bR_b = qr(left), Q_aR_a = qr(rightᵀ) and
UΣVᵀ = svd(R_bR_aᵀ), its SVD is (Q_bU) Σ (Q_aV)ᵀ. Cost O(R²(d_out + d_in)) with R = Σ rᵢ, in
float64. The idea of a small core follows FLoRIST (2025); truncation to rank r is FlexLoRA's rule
(Bai et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.strategies.aggregation.adapter import Factors, Matrix

# Components below float32's resolution of the largest are rounding noise of what was received.
_NOISE = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Product:
    """scale · b · a, one term of a sum."""

    scale: float
    factors: Factors


@dataclass(frozen=True)
class Spectrum:
    """A sum's singular value decomposition: u (d_out, k), sigma (k,) descending, vt (k, d_in)."""

    u: Matrix
    sigma: Matrix
    vt: Matrix

    @property
    def norm(self) -> float:
        """The Frobenius norm of the whole sum."""
        return float(np.linalg.norm(self.sigma))

    def kept(self, r: int) -> int:
        """How many of the first r components are more than rounding noise."""
        return int(np.count_nonzero(self.sigma[:r] > _NOISE * self.sigma[0]))

    def dropped(self, r: int) -> float:
        """The Frobenius norm of what truncation to rank r leaves out."""
        return float(np.linalg.norm(self.sigma[self.kept(r) :]))


def spectrum(products: Sequence[Product]) -> Spectrum:
    """Decompose a sum of products. Each left singular vector's largest entry is positive."""
    q_b, q_a, r_b, r_a = _stacked(products)
    u, sigma, vt = np.linalg.svd(r_b @ r_a.T)
    k = len(sigma)
    u, vt = q_b @ u[:, :k], vt[:k] @ q_a.T
    signs = _signs(u)
    return Spectrum(u * signs, sigma, vt * signs[:, None])


def norm(products: Sequence[Product]) -> float:
    """Return the Frobenius norm of a sum of products (through QR: no cancellation of squares)."""
    _, _, r_b, r_a = _stacked(products)
    return float(np.linalg.norm(r_b @ r_a.T))


def truncate(whole: Spectrum, r: int, scale: float, spare: Matrix) -> Factors:
    """Return rank-r factors with scale · b · a nearest to the sum, Σ^½ on both sides.

    A component that is zero would leave both of its factors zero, where every gradient vanishes.
    Its column of B is zero then, and its row of A comes from `spare` (any number of rows, d_in),
    as in a fresh adapter.
    """
    kept = whole.kept(r)
    root = np.sqrt(whole.sigma[:kept] / scale)
    b = np.zeros((whole.u.shape[0], r))
    a = np.zeros((r, whole.vt.shape[1]))
    b[:, :kept] = whole.u[:, :kept] * root
    a[:kept] = root[:, None] * whole.vt[:kept]
    if kept < r:
        unused = _outside(spare, whole.vt[:kept])[: r - kept]
        a[kept : kept + len(unused)] = unused
    return Factors(b, a)


def _stacked(products: Sequence[Product]) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    q_b, r_b = np.linalg.qr(np.hstack([each.factors.b for each in products]))
    q_a, r_a = np.linalg.qr(np.hstack([each.scale * each.factors.a.T for each in products]))
    return q_b, q_a, r_b, r_a


def _outside(rows: Matrix, basis: Matrix) -> Matrix:
    # The principal rows of what is orthogonal to the basis, with their lengths.
    rest = rows - (rows @ basis.T) @ basis
    _, sigma, vt = np.linalg.svd(rest, full_matrices=False)
    outside: Matrix = sigma[:, None] * vt
    return outside


def _signs(u: Matrix) -> Matrix:
    largest = u[np.argmax(np.abs(u), axis=0), np.arange(u.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
