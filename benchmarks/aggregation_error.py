"""How far each aggregation lies from the clients' mean ΔW, and what it costs: a table per case.

    python benchmarks/aggregation_error.py [--size 1024] [--clients 10] [--seed 0]

One matrix of size × size. Every client starts from the same fresh adapter (A₀ ~ N(0, 1/size), B =
0). What the clients have in common are r components (the rows of A₀ with the columns of `shared`,
of sizes falling from 1 to 0.2); client i learned component j with a strength s ~ Exp(1) of its
own, so that it ends at B_j = √s·shared_j + own and A_j = √s·A₀_j + drift. All entries are normal.

    case      ranks                          own / shared   drift of A / A₀
    alike     8 everywhere                   0.2            0.2
    mixed     64,32,16,16,8,8,4,4,4,4        0.2            0.2
    unlike    8 everywhere                   1              0.5

With mixed ranks a client holds the first rows of A₀ and the first columns of `shared`, alpha / r
is 2 everywhere, and the adapter of the server has the largest rank. The error is ‖aggregate −
ΔW*‖_F / ‖ΔW*‖_F with ΔW* = Σ pᵢsᵢBᵢAᵢ, computed densely here for every rule; `reported` is what
the rule itself said without a dense matrix. FedIT's mean for mixed ranks pads with zeros, as
HetLoRA does; our `factors` refuses it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.contribution import Aggregated, Contribution, shares
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.aggregation.product import product

A, B = "m.lora_A.weight", "m.lora_B.weight"
SCALE = 2.0
MIXED = (64, 32, 16, 16, 8, 8, 4, 4, 4, 4)

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One line of the table above."""

    name: str
    ranks: tuple[int, ...]
    own: float
    drift: float


def cases(clients: int) -> list[Case]:
    equal, mixed = (8,) * clients, tuple(MIXED[i % len(MIXED)] for i in range(clients))
    return [
        Case("alike", equal, 0.2, 0.2),
        Case("mixed", mixed, 0.2, 0.2),
        Case("unlike", equal, 1.0, 0.5),
    ]


def cohort(case: Case, size: int, seed: int) -> tuple[Params, list[Contribution]]:
    """Return the global factors and the contributions of a case."""
    rng = np.random.default_rng(seed)
    sizes = np.geomspace(1, 0.2, max(case.ranks))
    a_0 = rng.normal(size=(len(sizes), size)) / np.sqrt(size)
    shared = rng.normal(size=(size, len(sizes))) * sizes
    start = {A: _float32(a_0), B: np.zeros_like(shared, dtype=np.float32)}
    contributions = []
    for i, r in enumerate(case.ranks):
        gain = np.sqrt(rng.exponential(size=r))
        drift = case.drift * rng.normal(size=(r, size)) / np.sqrt(size)
        own = case.own * rng.normal(size=(size, r)) * sizes[:r]
        begin = {A: start[A][:r], B: start[B][:, :r]}
        moved_a = (gain[:, None] - 1) * a_0[:r] + drift
        delta = {A: _float32(moved_a), B: _float32(gain * shared[:, :r] + own)}
        contributions.append(Contribution(f"client-{i:03}", 10.0 + i, begin, delta, SCALE))
    return start, contributions


def mean_product(contributions: list[Contribution]) -> Matrix:
    """ΔW*, the dense way."""
    total = np.zeros((len(contributions[0].delta[B]), contributions[0].delta[A].shape[1]))
    for share, each in shares(contributions):
        total += share * each.scale * np.float64(_local(each, B)) @ _local(each, A)
    return total


def padded_mean(start: Params, contributions: list[Contribution]) -> Aggregated:
    """FedIT's mean of factors, ranks made equal by zeros."""
    mean = {name: np.zeros(start[name].shape) for name in start}
    for share, each in shares(contributions):
        rank = len(each.delta[A])
        mean[A][:rank] += share * _local(each, A)
        mean[B][:, :rank] += share * _local(each, B)
    return Aggregated({name: _float32(value) for name, value in mean.items()}, np.nan)


def dense_svd(start: Params, contributions: list[Contribution]) -> Aggregated:
    """The truncated SVD of the dense mean product."""
    r = len(start[A])
    u, sigma, vt = np.linalg.svd(mean_product(contributions) / SCALE)
    root = np.sqrt(sigma[:r])
    params = {A: _float32(root[:, None] * vt[:r]), B: _float32(u[:, :r] * root)}
    return Aggregated(params, float(np.linalg.norm(sigma[r:]) / np.linalg.norm(sigma)))


def measure(case: Case, size: int, seed: int) -> None:
    start, contributions = cohort(case, size, seed)
    target = mean_product(contributions)
    mixed = len(set(case.ranks)) > 1
    rules: dict[str, Callable[[], Aggregated]] = {
        "FedIT, padded" if mixed else "factors (FedIT)": lambda: (
            padded_mean(start, contributions)
            if mixed
            else factors().aggregate(start, SCALE, contributions)
        ),
        "product": lambda: product().aggregate(start, SCALE, contributions),
        "dense SVD": lambda: dense_svd(start, contributions),
    }
    for name, rule in rules.items():
        begun = time.perf_counter()
        got = rule()
        seconds = time.perf_counter() - begun
        aggregate = SCALE * np.float64(got.params[B]) @ got.params[A]
        error = np.linalg.norm(aggregate - target) / np.linalg.norm(target)
        print(f"{case.name:8} {name:18} {error:8.4f} {got.error:10.4f} {1e3 * seconds:10.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Aggregation errors of LoRA rules.")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'case':8} {'rule':18} {'error':>8} {'reported':>10} {'ms':>10}")
    for case in cases(options.clients):
        measure(case, options.size, options.seed)


def _local(each: Contribution, name: str) -> FloatArray:
    return each.start[name] + each.delta[name]


def _float32(matrix: Matrix) -> FloatArray:
    return np.ascontiguousarray(matrix, dtype=np.float32)


if __name__ == "__main__":
    main()
