"""Sums of low-rank products through a small core: never a d_out × d_in matrix.

A sum Σ cᵢBᵢAᵢ is left · right with left = [c₁B₁|…|c_NB_N] and right = [A₁; …; A_N]. From the Gram matrix
leftᵀleft = VΛVᵀ comes left = Q_bR_b, where R_b = Λ^½Vᵀ and Q_b = leftVΛ^−½ has orthonormal columns;
rightᵀ = Q_aR_a likewise. With UΣWᵀ = svd(R_bR_aᵀ) the sum's SVD is (Q_bU) Σ (Q_aW)ᵀ; only the columns
that are asked for are formed. Cost O(R²(d_out + d_in)) with R = Σ rᵢ, in float64, nearly all of it in two
matrix products; Householder QR gives the same ten times slower. A Gram matrix knows a direction down to
about 1e-8 of the longest: below float32's resolution of what was received.

The idea of a small core follows FLoRIST (2025); truncation to rank r is FlexLoRA's rule (Bai et al. 2024).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import Matrix
from antiphon.strategies.aggregation.adapter import Delta, Factors

# Components below float32's resolution of the largest are rounding noise of what was received.
_NOISE = float(np.finfo(np.float32).eps)
# A Gram matrix's eigenvalues below this part of the largest are its own rounding.
_GRAM_NOISE = 1e-14
_held = threading.local()


@dataclass(frozen=True)
class Product:
    """scale · (b + δb)(a + δa), one term of a sum; without a delta scale · b · a."""

    scale: float
    factors: Factors
    delta: Delta | None = None


@dataclass(frozen=True)
class Spectrum:
    """A sum's singular values, descending, with its first components: u (d_out, k), vt (k, d_in)."""

    u: Matrix
    sigma: Matrix
    vt: Matrix

    @property
    def norm(self) -> float:
        """The Frobenius norm of the whole sum."""
        return float(np.linalg.norm(self.sigma))

    def kept(self, r: int) -> int:
        """How many of the first r components are more than rounding noise."""
        return int(np.count_nonzero(self.sigma[:r] > _NOISE * self.sigma[:1]))

    def between(self, first: int, last: int) -> Factors:
        """Return components first … last as factors, Σ^½ on both sides; zeros for noise."""
        significant = self.sigma > _NOISE * self.sigma[:1]
        root = np.sqrt(np.where(significant, self.sigma, 0.0)[first:last])
        count = len(root)
        b = np.zeros((self.u.shape[0], last - first))
        a = np.zeros((last - first, self.vt.shape[1]))
        b[:, :count] = self.u[:, first:last] * root
        a[:count] = root[:, None] * self.vt[first:last]
        return Factors(b, a)

    def dropped(self, r: int) -> float:
        """The Frobenius norm of what truncation to rank r leaves out."""
        return float(np.linalg.norm(self.sigma[self.kept(r) :]))


def spectrum(products: Sequence[Product], r: int) -> Spectrum:
    """Decompose a sum of products: every singular value, and the vectors of the r largest.

    Each left singular vector's largest entry is positive.
    """
    scale, left, right = _side_by_side(products)
    b, a = _whitened(left.T @ left), _whitened(right @ right.T)
    u, sigma, vt = np.linalg.svd((b.root * scale) @ a.root.T, full_matrices=False)
    u, vt = left @ b.columns(u[:, :r]), a.columns(vt[:r].T).T @ right
    signs = _signs(u)
    return Spectrum(u * signs, sigma, vt * signs[:, None])


def inner_products(products: Sequence[Product]) -> Matrix:
    """Return ⟨cⱼbⱼaⱼ, cₖbₖaₖ⟩ of the R rank-one terms that the products are made of, (R, R).

    They add up to the squared Frobenius norm of the sum; a block of them, to that of its terms.
    """
    scale, left, right = _side_by_side(products)
    products_of_both: Matrix = (left.T @ left) * (right @ right.T) * np.outer(scale, scale)
    return products_of_both


def norm(inner: Matrix) -> float:
    """Return the Frobenius norm of a sum from the inner products of its terms.

    Terms that cancel leave no less than their rounding: a sum is never nearer to zero than is known.
    """
    rounding = np.finfo(np.float64).eps * np.abs(inner).sum()
    return float(np.sqrt(max(inner.sum(), rounding)))


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


def _side_by_side(products: Sequence[Product]) -> tuple[Matrix, Matrix, Matrix]:
    # The sum as left · diag(scale) · right: (R,), (d_out, R), (R, d_in).
    ranks = [each.factors.r for each in products]
    first, total = products[0].factors, sum(ranks)
    left = _scratch("left", first.b.shape[0], total)
    right = _scratch("right", total, first.a.shape[1])
    end = 0
    for each, r in zip(products, ranks, strict=True):
        begin, end = end, end + r
        if each.delta is None:
            left[:, begin:end], right[begin:end] = each.factors.b, each.factors.a
        else:
            np.add(each.factors.b, each.delta.b, out=left[:, begin:end])
            np.add(each.factors.a, each.delta.a, out=right[begin:end])
    return np.repeat([each.scale for each in products], ranks), left, right


def _scratch(name: str, rows: int, columns: int) -> Matrix:
    # A thread's own memory, valid until it asks again: fresh pages would cost more than the sums in them.
    held: Matrix | None = getattr(_held, name, None)
    if held is None or held.size < rows * columns:
        held = np.empty(rows * columns)
        setattr(_held, name, held)
    return held[: rows * columns].reshape(rows, columns)


@dataclass(frozen=True)
class _Whitening:
    """Of X (·, R) with the Gram matrix L·VΛVᵀ·L: length (R,) is diag L, v (R, k), sigma (k,) is Λ^½."""

    length: Matrix
    v: Matrix
    sigma: Matrix

    @property
    def root(self) -> Matrix:
        """Q has orthonormal columns in X = Q · root; (k, R)."""
        root: Matrix = (self.v * self.sigma * self.length[:, None]).T
        return root

    def columns(self, x: Matrix) -> Matrix:
        """Return what gives Q·x when X is multiplied with it; x (k, r) → (R, r)."""
        columns: Matrix = self.v @ (x / self.sigma[:, None]) / self.length[:, None]
        return columns


def _whitened(gram: Matrix) -> _Whitening:
    # X's columns are brought to one length, so that what is lost of each is small beside itself.
    length = np.sqrt(np.diag(gram))
    length[length == 0] = 1.0
    gram /= length
    gram /= length[:, None]
    eigenvalues, v = np.linalg.eigh(gram)  # ascending
    lost = int(np.count_nonzero(eigenvalues <= _GRAM_NOISE * eigenvalues[-1]))
    return _Whitening(length, v[:, lost:], np.sqrt(eigenvalues[lost:]))


def _outside(rows: Matrix, basis: Matrix) -> Matrix:
    # The principal rows of what is orthogonal to the basis, with their lengths.
    rest = rows - (rows @ basis.T) @ basis
    _, sigma, vt = np.linalg.svd(rest, full_matrices=False)
    outside: Matrix = sigma[:, None] * vt
    return outside


def _signs(u: Matrix) -> Matrix:
    largest = u[np.argmax(np.abs(u), axis=0), np.arange(u.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
