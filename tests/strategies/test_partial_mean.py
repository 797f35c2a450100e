"""A mean of deltas has the same bits however it is parted: one fold, eight partial folds, any order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core import registry
from antiphon.core.errors import UpdateError
from antiphon.strategies.aggregation.additive import partial_sum, reduce_additive
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.partial_mean import PartialMean, partial_mean

NAME = "coefficients"
CLIENTS = 40


def cohort(seed: int, spread: float = 1e-2) -> list[Contribution]:
    """Return clients with float32 deltas of unlike sizes, weights and factors."""
    rng = np.random.default_rng(seed)
    sizes = spread * 10.0 ** rng.uniform(-6, 3, CLIENTS)
    return [
        Contribution(
            f"site-{number:02}",
            weight=float(rng.integers(1, 5000)) / float(rng.choice([1.0, np.sqrt(2), 3.0])),
            start={},
            delta={NAME: (size * rng.standard_normal(257)).astype(np.float32)},
            scale=1.0,
            factor=float(rng.uniform(0.1, 1.0)),
        )
        for number, size in enumerate(sizes)
    ]


def folded(parts: Sequence[Sequence[Contribution]]) -> npt.NDArray[np.float64]:
    """Return the mean that partial folds of these parts make, one after the other."""
    return reduce(add, [partial_sum([NAME], part) for part in parts]).value()


@given(seed=st.integers(0, 2**32), data=st.data())
def test_eight_partial_folds_have_the_bits_of_one(seed: int, data: st.DataObject) -> None:
    """Forty clients spread over eight folds in any way and any order give the very mean of one fold."""
    clients = cohort(seed)
    order = data.draw(st.permutations(clients))
    cuts = sorted(data.draw(st.sets(st.integers(1, CLIENTS - 1), min_size=7, max_size=7)))

    eight = [order[low:high] for low, high in zip([0, *cuts], [*cuts, CLIENTS], strict=True)]

    assert len(eight) == 8
    assert folded(eight).tobytes() == folded([clients]).tobytes()


@given(seed=st.integers(0, 2**32))
def test_a_tree_of_folds_has_the_bits_of_a_chain(seed: int) -> None:
    """Parts may be added up pairwise, as relays would: the brackets change no bit."""
    parts = [partial_sum([NAME], [each]) for each in cohort(seed)]
    tree: list[PartialMean] = parts
    while len(tree) > 1:
        pairs = [reduce(add, tree[at : at + 2]) for at in range(0, len(tree), 2)]
        tree = pairs

    assert tree[0].value().tobytes() == reduce(add, parts).value().tobytes()


def test_an_additive_fold_is_made_of_such_parts() -> None:
    """What a round folds in one piece is, to the bit, what its eighths make."""
    clients = cohort(5)
    start = {NAME: np.zeros(257, np.float64)}

    whole = reduce_additive(registry.build("aggregation", "product", {}), start, clients).delta[
        NAME
    ]

    assert whole.tobytes() == folded([clients[at::8] for at in range(8)]).tobytes()


@given(seed=st.integers(0, 2**32))
def test_the_mean_is_right_to_float64(seed: int) -> None:
    """Cutting at grids costs no more than float64 rounds: against sums in extended precision."""
    clients = cohort(seed)
    wide = np.longdouble

    weights = sum(wide(each.weight) for each in clients)
    exact = sum(wide(each.weight * each.factor) * each.delta[NAME].astype(wide) for each in clients)
    reach = sum(wide(each.weight * each.factor) * abs(each.delta[NAME]) for each in clients)

    assert np.all(abs(folded([clients]) - exact / weights) <= 1e-14 * reach / weights + 1e-17)


def test_sums_beyond_the_grid_stay_right() -> None:
    """A term far above the coarse grid's range is added as float64 adds, and nothing overflows."""
    huge = np.array([3e38, -3e38, 1.0], np.float32)

    mean = partial_mean([(1e6, huge), (1e6, np.zeros(3, np.float32))]).value()

    np.testing.assert_allclose(mean, huge / 2, rtol=1e-15)


@pytest.mark.parametrize(
    "terms",
    [
        [],
        [(0.0, np.zeros(2))],
        [(float("nan"), np.zeros(2))],
        [(1.0, np.zeros(2)), (1.0, np.zeros(3))],
    ],
    ids=["nothing", "no weight", "not a number", "two shapes"],
)
def test_what_has_no_mean_is_refused(terms: list[tuple[float, npt.NDArray[np.float64]]]) -> None:
    """No terms, a weight that is none and unlike shapes are an UpdateError."""
    with pytest.raises(UpdateError):
        partial_mean(terms)
