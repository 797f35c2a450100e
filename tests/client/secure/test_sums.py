"""Secure sums, both halves: exact over those who delivered, refused below the threshold."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.secure.cohort import Cohort
from tests.client.secure.conftest import Gather

from antiphon.core.errors import UpdateError
from antiphon.core.types import Float64Array
from antiphon.strategies.fold import Context
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.secure.names import MASKED, UNMASKING
from antiphon.strategies.secure.packed import unpack
from antiphon.strategies.secure.summed import summed
from antiphon.strategies.secure.terms import MaskedWords, among_of, flat


def sum_of(cohort: Cohort, clients: Sequence[str], context: Context) -> Float64Array:
    """Return what the fold makes of these clients' updates, in one row."""
    secure = method_of(cohort.config).secure
    assert secure is not None
    start = {name: np.zeros_like(each) for name, each in cohort.deltas[clients[0]].items()}
    updates = [cohort.updates[each] for each in clients]
    whole, _ = summed(secure.terms, start, 1.0, updates, context)
    return flat(whole.delta).astype(np.float64)


def plain_vectors(cohort: Cohort, clients: Sequence[str]) -> list[MaskedWords]:
    """Return what these clients have put under their masks."""
    secure = method_of(cohort.config).secure
    assert secure is not None
    whom = among_of(cohort.known[UNMASKING])
    vectors = []
    for client in clients:
        # The generator of masking.py, for the assignment's seed 1.
        rng = np.random.Generator(np.random.Philox(key=[1, cohort.round + (1 << 33)]))
        examples = cohort.examples.get(client, 10)
        vectors.append(secure.terms.vector(cohort.deltas[client], examples, whom, rng))
    return vectors


def unmasked(cohort: Cohort, clients: Sequence[str]) -> MaskedWords:
    """Return the sum of what these clients have sent, without what unmasking has found."""
    mask = cohort.known[UNMASKING]["mask"]
    secure = method_of(cohort.config).secure
    assert secure is not None
    bits = secure.terms.grid(len(cohort.deltas)).modulus_bits
    sent = [
        unpack(cohort.updates[each].payload.arrays[MASKED], len(mask), bits) for each in clients
    ]
    return (np.sum(sent, axis=0, dtype=np.int64) - mask.astype(np.int64)) % (1 << bits)  # type: ignore[no-any-return]


def dropouts() -> st.SearchStrategy[tuple[int, int, int, int, int]]:
    """Draw how many of a cohort are left after each exchange, and a seed."""

    def later(size: int) -> st.SearchStrategy[tuple[int, int, int, int, int]]:
        fewest = -(-7 * size // 10)
        left = st.lists(st.integers(fewest, size), min_size=3, max_size=3)
        return left.flatmap(
            lambda each: st.tuples(
                st.just(size), *map(st.just, sorted(each, reverse=True)), st.integers(0, 99)
            )
        )

    return st.integers(2, 12).flatmap(later)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(dropouts())
def test_the_sum_is_exact_whoever_drops_out(
    gather: Gather, drawn: tuple[int, int, int, int, int]
) -> None:
    """As whole numbers, to the last bit, over those whose update has arrived."""
    size, shared, trained, unmasking, seed = drawn
    cohort = gather(size, seed, folder=f"kept-{drawn}")
    order = np.random.default_rng(seed).permutation(sorted(cohort.deltas)).tolist()

    cohort.through(order[:shared], order[:trained], order[:unmasking])

    arrived = sorted(order[:trained])
    expected = np.sum(plain_vectors(cohort, arrived), axis=0, dtype=np.int64)
    np.testing.assert_array_equal(unmasked(cohort, arrived), expected)
    shutil.rmtree(cohort.folder)


def test_a_large_cohort_is_summed(gather: Gather) -> None:
    """Of a hundred clients a quarter drops out."""
    cohort = gather(100)
    names = sorted(cohort.deltas)

    context = cohort.through(names[5:], names[20:], names[24:])

    weights = [cohort.deltas[each] for each in names[20:]]
    expected = np.mean([flat(each) for each in weights], axis=0)
    np.testing.assert_allclose(sum_of(cohort, names[20:], context), expected, atol=1e-4)


def test_the_mean_is_weighed_by_examples(gather: Gather) -> None:
    """Weight and weight × delta are under the same mask."""
    names = ["client-000", "client-001", "client-002"]
    examples = dict(zip(names, (5, 50, 300), strict=True))
    cohort = gather(3, examples=examples)

    context = cohort.through()

    parts = [examples[each] * flat(cohort.deltas[each]) for each in names]
    expected = np.sum(parts, axis=0) / sum(examples.values())
    np.testing.assert_allclose(sum_of(cohort, names, context), expected, atol=1e-4)


def test_too_few_who_unmask_give_no_sum(gather: Gather) -> None:
    """Below the threshold the masks stay, and the round is dropped with a reason."""
    cohort = gather(6)
    names = sorted(cohort.deltas)

    context = cohort.through(unmasked=names[:3])

    with pytest.raises(UpdateError, match="shares of client-"):
        sum_of(cohort, names, context)


def test_without_one_of_the_updates_the_masks_do_not_cancel(gather: Gather) -> None:
    """A client that is revoked after the masks are known takes the round with it."""
    cohort = gather(4)
    names = sorted(cohort.deltas)
    context = cohort.through()

    with pytest.raises(UpdateError, match="left the run since"):
        sum_of(cohort, names[1:], context)


def test_one_false_share_is_passed_over(gather: Gather) -> None:
    """A member that lies when it unmasks stops nobody: the others' shares give the secret."""
    cohort = gather(8)
    names = sorted(cohort.deltas)
    true = cohort.answer

    def lies(name: str, client: str, message: bytes) -> bytes:
        answer = bytearray(true(name, client, message))
        if name == UNMASKING and client == names[0]:
            answer[-40] ^= 1
        return bytes(answer)

    cohort.answer = lies  # type: ignore[method-assign]
    context = cohort.through()

    expected = np.mean([flat(each) for each in cohort.deltas.values()], axis=0)
    np.testing.assert_allclose(sum_of(cohort, names, context), expected, atol=1e-4)
