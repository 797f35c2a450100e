"""What every installed protection has in common."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies.members.installed import cases

from antiphon.strategies.protection.agreement import Agreement
from antiphon.strategies.protection.protection import Share, usual_of

POSITIVE = st.floats(1e-6, 1e9)


@pytest.fixture(scope="module", params=cases("protection"), ids=str)
def protection(request):
    return request.param.build()


def shares(rows):
    """A cohort of (weight, reach), or of (weight, reach, agreement)."""
    return [
        Share(f"c{at}", weight, reach, 1.0, *(Agreement(value, 0.1) for value in told))
        for at, (weight, reach, *told) in enumerate(rows)
    ]


cohorts = st.lists(st.tuples(POSITIVE, POSITIVE, st.floats(-4, 4)), min_size=3, max_size=8).map(
    shares
)


@given(cohort=cohorts)
def test_nobody_gains(protection, cohort):
    """A share is lowered or stays: weight and factor never grow, and never reach zero."""
    after = protection.limit(cohort, usual_of(cohort))

    assert [each.client for each in after] == [each.client for each in cohort]
    for was, is_ in zip(cohort, after, strict=True):
        assert 0 < is_.weight <= was.weight
        assert 0 < is_.factor <= was.factor


@given(cohort=cohorts)
def test_the_order_of_clients_changes_nothing(protection, cohort):
    """A bound comes from the cohort as a set."""
    there, back = (
        protection.limit(cohort, usual_of(cohort)),
        protection.limit(cohort[::-1], usual_of(cohort)),
    )

    assert list(there) == list(back)[::-1]


@given(weight=POSITIVE, reach=POSITIVE)
def test_equal_clients_keep_their_shares(protection, weight, reach):
    """Where nobody stands out, nobody is bounded."""
    cohort = shares([(weight, reach)] * 4)

    assert list(protection.limit(cohort, usual_of(cohort))) == cohort


@given(lie=st.floats(1, 1e300))
def test_a_lie_gains_no_more_than_a_bounded_multiple(protection, lie):
    """Whatever one of five claims, and however far it reaches, its say beside another's is bounded."""
    lies = (10.0, lie) if protection.reads_reach else (lie, 1.0)
    if protection.reads_agreement:  # it bounds neither: whoever lies agrees with nobody
        lies = (10.0, 1.0)
    cohort = shares([(10.0, 1.0)] * 4 + [lies])

    after = protection.limit(cohort, usual_of(cohort))

    say = [each.weight * each.factor * each.reach for each in after]
    assert say[-1] <= 2.0 * say[0] * (1 + 1e-12)


def test_a_reach_that_is_no_number_is_bounded(protection):
    """An overflow of a norm does not switch a protection off."""
    cohort = shares([(1.0, 1.0), (1.0, 1.0), (1.0, math.inf)])

    after = protection.limit(cohort, usual_of(cohort))

    assert after[0] == Share("c0", 1.0, 1.0)
    assert after[2].factor == 0.0 or not protection.reads_reach
