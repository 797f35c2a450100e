"""What every installed scheduler has in common."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members import fleets
from tests.strategies.members.installed import cases

from antiphon.core.errors import ConfigError
from antiphon.core.event_json import decode, encode
from antiphon.core.journal import Journal
from antiphon.server.planning.plans import plan_round
from antiphon.strategies.scheduling.telemetry import ClientTelemetry

KNOWN = fleets.known_from(fleets.told())
HERE = tuple(KNOWN.of(name) for name in fleets.NAMES)


@pytest.fixture(scope="module", params=cases("scheduler"), ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def scheduler(case):
    return case.build()


def rng(key=7):
    """A fresh generator."""
    return np.random.Generator(np.random.Philox(key))


def chosen(scheduler, here, size, run=KNOWN.run, key=7):
    """The cohort; who takes everybody is asked for everybody."""
    return scheduler.choose(here, len(here) if scheduler.whole else size, run, rng(key))


fleet = st.lists(fleets.clients, min_size=1, max_size=8, unique_by=lambda each: each.client)


def as_yaml(case):
    """How a run's YAML names the scheduler."""
    return json.dumps({"kind": case.name, **case.arguments})


@settings(max_examples=40)
@given(here=fleet, size=st.integers(1, 9), run=fleets.runs, key=st.integers(0, 2**32))
def test_a_cohort_is_of_those_who_are_here(scheduler, here, size, run, key):
    """Whatever was measured: only candidates, sorted, nobody twice, no more than were asked for."""
    size = min(size, len(here))

    cohort = chosen(scheduler, here, size, run, key)

    assert isinstance(cohort, tuple)
    assert set(cohort) <= {each.client for each in here}
    assert list(cohort) == sorted(set(cohort))
    assert len(cohort) <= (len(here) if scheduler.whole else size)


@settings(max_examples=30)
@given(here=fleet, run=fleets.runs, data=st.data())
def test_the_order_of_candidates_does_not_matter(scheduler, here, run, data):
    """The same generator gives the same cohort, however the clients are listed."""
    size = data.draw(st.integers(1, len(here)))
    turned = data.draw(st.permutations(here))

    assert chosen(scheduler, turned, size, run) == chosen(scheduler, here, size, run)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_nothing_is_kept_between_calls(scheduler, size):
    """Asked again after other questions, with an equal generator, it chooses the same cohort."""
    first = chosen(scheduler, HERE, size)

    for other in range(1, 9):
        chosen(scheduler, HERE[:other], other, key=other)

    assert chosen(scheduler, HERE, size) == first


def test_a_fleet_of_eight_gives_somebody_work(scheduler):
    """A round of nobody teaches nothing: each size has a cohort."""
    assert all(chosen(scheduler, HERE, size) for size in range(1, 9))


@settings(max_examples=60)
@given(key=st.integers(0, 10**6), size=st.integers(1, 4))
def test_a_choice_rests_on_the_fields_that_it_names(scheduler, key, size):
    """The plan keeps what `uses` names: with nothing else known, the cohort is the same."""
    here = fleets.honest(key)
    named = [fleets.only(each, scheduler.uses) for each in here]

    got, expected = (chosen(scheduler, each, size, key=key) for each in (named, here))

    assert got == expected


def test_uses_are_fields_of_a_client(scheduler):
    """Names that no client has would be rows of nothing."""
    assert set(scheduler.uses) <= set(fleets.MEASURED)


def test_who_takes_everybody_says_so(scheduler):
    """`whole`: all of them at the full size, a smaller one is refused; else it is answered."""
    if not scheduler.whole:
        assert len(scheduler.choose(HERE, 3, KNOWN.run, rng())) <= 3
        return

    assert scheduler.choose(HERE, 8, KNOWN.run, rng()) == fleets.NAMES
    with pytest.raises(ConfigError):
        scheduler.choose(HERE, 3, KNOWN.run, rng())


@settings(max_examples=30)
@given(heard=fleets.journals, size=st.integers(1, 8))
def test_a_replayed_journal_gives_the_same_choice(scheduler, heard, size):
    """What was told as events, read back from their JSON, leads to the same cohort."""
    replayed = [(decode(*encode(event)), at_s) for event, at_s in heard]

    live, again = (fleets.known_from(each) for each in (heard, replayed))

    one, other = (
        chosen(scheduler, [known.of(name) for name in fleets.NAMES], size, known.run)
        for known in (live, again)
    )
    assert one == other


def test_a_resumed_run_plans_the_same_cohort(case, tiny_config, tmp_path):
    """A journal on the disk, heard by a new process, gives the plan that the old one would have made."""
    size = "null" if case.build().whole else "3"
    config = tiny_config(f"cohort={{size: {size}, scheduler: {as_yaml(case)}}}")
    with Journal.writing(tmp_path / "journal.sqlite") as journal:
        for event, at_s in fleets.told():
            journal.append(event, at_s)
        entries = [(each.event, each.at_s) for each in journal.read()]

    plans = [
        plan_round(config, 4, fleets.NAMES, 1.0, fleets.known_from(heard))
        for heard in (fleets.told(), entries)
    ]

    assert plans[0] == plans[1]
    assert plans[0].cohort


def test_one_client_is_the_cohort_of_one(scheduler):
    """A client of which nothing is known yet can be chosen."""
    assert chosen(scheduler, [ClientTelemetry("c0")], 1) == ("c0",)
