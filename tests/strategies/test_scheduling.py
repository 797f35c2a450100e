"""Schedulers: who takes part, and how much each member works."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.strategies.scheduling.everyone import everyone
from antiphon.strategies.scheduling.oort import oort
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry, used_values
from antiphon.strategies.scheduling.uniform import uniform
from antiphon.strategies.scheduling.work import MemberWork, balanced, equal

CLIENTS = [ClientTelemetry(name, examples=10) for name in "cadbe"]
RUN = RunTelemetry(round=10, rounds=100)
CHI2_999_OF_9 = 27.88  # the 99.9th percentile of χ² with nine degrees of freedom
EXPLOIT = {"exploration": 0.0, "min_exploration": 0.0}


def rng(key=7):
    """A fresh generator."""
    return np.random.Generator(np.random.Philox(key))


def known(count=10, **fields):
    """Clients of equal utility that took part in round 5."""
    usual = ClientTelemetry("", examples=10, loss=1.0, rms_loss=1.0, last_round=5)
    return [replace(usual, client=f"c{i}", **fields) for i in range(count)]


def draws(scheduler, clients, size, times, run=RUN):
    """How often each client is chosen."""
    random, counts = rng(), dict.fromkeys((each.client for each in clients), 0)
    for _ in range(times):
        for name in scheduler.choose(clients, size, run, random):
            counts[name] += 1
    return counts


def test_everyone_takes_all_clients():
    """All of them, in name order."""
    assert everyone().choose(CLIENTS, 5, RUN, rng()) == ("a", "b", "c", "d", "e")


def test_everyone_refuses_a_smaller_cohort():
    """A size that would leave somebody out is a contradiction in the config."""
    with pytest.raises(ConfigError, match="random"):
        everyone().choose(CLIENTS, 3, RUN, rng())


@pytest.mark.parametrize("scheduler", [uniform(), oort()], ids=["random", "oort"])
def test_all_are_taken_where_there_are_too_few(scheduler):
    """A cohort larger than the fleet is the fleet."""
    assert scheduler.choose(CLIENTS, 9, RUN, rng()) == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("scheduler", "clients"),
    [(uniform(), known()), (oort(), known()), (oort(), known(last_round=0))],
    ids=["random", "oort-equal-utility", "oort-unknown"],
)
def test_equal_clients_have_equal_chances(scheduler, clients):
    """Over 4,000 draws of 3 of 10 equal clients, χ² of the counts is below its 99.9th percentile."""
    counts = np.array(list(draws(scheduler, clients, 3, 4000).values()))

    # Counts of draws without replacement vary less than multinomial ones: by (n − k) / (n − 1).
    chi2 = ((counts - 1200) ** 2 / 1200).sum() / (7 / 9)

    assert chi2 < CHI2_999_OF_9


def test_oort_prefers_high_utility():
    """Clients whose squared losses are high are chosen before those that have learnt their data."""
    clients = [replace(each, rms_loss=0.1 * i) for i, each in enumerate(known())]

    cohort = oort(**EXPLOIT).choose(clients, 3, RUN, rng())

    assert cohort == ("c7", "c8", "c9")


def test_oort_clips_an_outlier():
    """One client that claims a giant loss does not press the others into one corner of the scale."""
    clients = [replace(each, rms_loss=1.0 + 0.1 * i) for i, each in enumerate(known(40))]
    liar = replace(clients[0], rms_loss=1e9)

    cohort = oort(**EXPLOIT).choose([liar, *clients[1:]], 4, RUN, rng())

    assert set(cohort) - {"c0"} <= {f"c{i}" for i in range(33, 40)}


def test_oort_explores_unknown_clients():
    """With ε = 0.5, half of the cohort was never asked before."""
    clients = known(10) + [ClientTelemetry(f"new{i}", examples=10) for i in range(10)]

    cohort = oort(exploration=0.5, exploration_decay=1.0).choose(clients, 4, RUN, rng())

    assert sum(name.startswith("new") for name in cohort) == 2


def test_oort_explores_large_and_fast_clients_rather():
    """Of two unknown clients, the one with four times the examples per second is drawn more often."""
    clients = [
        ClientTelemetry("slow", examples=10, step_s=2.0),
        ClientTelemetry("fast", examples=20, step_s=1.0),
    ]

    counts = draws(oort(), clients, 1, 2000, RUN)

    assert counts["fast"] / 2000 == pytest.approx(0.8, abs=0.05)


def test_oort_penalises_slow_clients():
    """A client that takes ten times the preferred duration falls behind its equals."""
    clients = [replace(each, turnaround_s=10.0) for each in known(9)]
    slow = replace(clients[0], client="slow", turnaround_s=100.0)

    counts = draws(oort(**EXPLOIT), [*clients, slow], 3, 200)

    assert counts["slow"] == 0


def test_oort_brings_everybody_back():
    """Left out for long enough, a client of the least utility is chosen: late in a run as well."""
    run = RunTelemetry(round=1000, rounds=2000)
    recent = [replace(each, rms_loss=5.0 + i, last_round=998) for i, each in enumerate(known(9))]
    forgotten = replace(recent[0], client="forgotten", rms_loss=0.1, last_round=900)

    cohort = oort(**EXPLOIT).choose([*recent, forgotten], 3, run, rng())

    assert "forgotten" in cohort


def test_the_pacer_lets_slow_clients_in_when_little_changes():
    """A slow client of high utility is left out at first, and chosen once utilities stagnate."""
    quick = [replace(each, turnaround_s=1.0, rms_loss=1.0 + i) for i, each in enumerate(known(5))]
    slow = [
        replace(each, client=f"s{i}", turnaround_s=30.0, rms_loss=9.0)
        for i, each in enumerate(quick)
    ]
    scheduler = oort(**EXPLOIT, pacer_rounds=2, pacer_step=10.0)

    early = scheduler.choose(quick + slow, 2, RunTelemetry(round=3, utilities=(50.0, 50.0)), rng())
    late = scheduler.choose(quick + slow, 2, RunTelemetry(round=41, utilities=(50.0,) * 40), rng())

    assert {name[0] for name in early} == {"c"}
    assert {name[0] for name in late} == {"s"}


@given(st.integers(0, 2**32), st.integers(1, 12), st.data())
def test_oort_chooses_so_many_different_candidates(key, size, data):
    """Whatever has been measured, the cohort has min(size, candidates) members, each once."""
    loss = st.none() | st.floats(0, 1e6)
    clients = [
        ClientTelemetry(
            f"c{i}",
            examples=data.draw(st.integers(0, 10**6)),
            rms_loss=data.draw(loss),
            turnaround_s=data.draw(st.none() | st.floats(0, 1e9)),
            step_s=data.draw(st.none() | st.floats(1e-6, 1e6)),
            last_round=data.draw(st.integers(0, 10)),
        )
        for i in range(data.draw(st.integers(1, 12)))
    ]

    cohort = oort().choose(clients, size, RUN, rng(key))

    assert len(set(cohort)) == len(cohort) == min(size, len(clients))


def test_oort_arguments_are_checked():
    """A share above one is a config error."""
    with pytest.raises(ConfigError, match="cut_off"):
        registry.build("scheduler", "oort", {"cut_off": 1.5})


def test_equal_work_is_all_the_steps():
    """Everybody takes max_steps, however slow."""
    cohort = [MemberWork("a", 10, 1.0, 0.5), MemberWork("b", 10, 50.0, 9.0)]

    assert equal(cohort) == {"a": 10, "b": 10}


def test_balanced_work_ends_together():
    """The fastest takes all its steps in 10 s; who needs 2 s a step and 4 s of transfer takes three."""
    cohort = [MemberWork("a", 10, 0.0, 1.0), MemberWork("b", 10, 4.0, 2.0)]

    assert balanced(cohort) == {"a": 10, "b": 3}


def test_balanced_work_is_one_step_at_least():
    """A client whose transfer alone takes longer than the others' round still takes a step."""
    cohort = [MemberWork("a", 10, 0.0, 1.0), MemberWork("b", 10, 100.0, 1.0), MemberWork("c", 10)]

    assert balanced(cohort) == {"a": 10, "b": 1, "c": 10}


@given(
    st.lists(st.tuples(st.floats(0, allow_nan=False), st.floats(0, exclude_min=True)), min_size=1)
)
def test_balanced_work_stands_whatever_a_client_claims(claimed):
    """Times too short or too long for a number: everybody takes one step at least, and no more than all."""
    cohort = [MemberWork(f"c{i}", 20, transfer, step) for i, (transfer, step) in enumerate(claimed)]

    steps = balanced(cohort)

    assert set(steps) == {each.client for each in cohort}
    assert all(1 <= each <= 20 for each in steps.values())


def test_oort_draws_among_impossible_claims():
    """Speeds whose sum no float holds count alike."""
    claimed = (1e-302, 1.1e-302, 1.0, 1.0, 1.0)
    clients = [ClientTelemetry(f"c{i}", 10**6, step_s=step) for i, step in enumerate(claimed)]

    assert oort().choose(clients, 2, RUN, rng()) == ("c0", "c1")


@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(1e-3, 1e3)), min_size=1, max_size=9))
def test_balanced_work_never_outlasts_the_fastest(measured):
    """With more than one step, nobody ends after the fastest member with all its steps."""
    cohort = [
        MemberWork(f"c{i}", 20, transfer, step) for i, (transfer, step) in enumerate(measured)
    ]

    steps = balanced(cohort)

    fastest = min(each.seconds(20) for each in cohort)
    late = [c for c in cohort if c.seconds(steps[c.client]) > fastest * (1 + 1e-6)]
    assert all(steps[each.client] == 1 for each in late)
    assert max(steps.values()) == 20


def test_a_row_holds_finite_measured_values():
    """What was not measured, or is not finite, is left out of a plan's telemetry."""
    client = ClientTelemetry("a", step_s=1 / 3, uplink_bytes_per_s=float("inf"))

    row = used_values(client, ["step_s", "uplink_bytes_per_s", "loss"])

    assert row == {"step_s": 0.333333}
