"""The policy that looks for the most learning in a second."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice
from antiphon.strategies.policy.costs import Costs
from antiphon.strategies.policy.policy import Draft, Stop
from antiphon.strategies.policy.swift import swift
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry, Telemetry
from antiphon.strategies.scheduling.work import MemberWork, equal

PARAMETERS, MODEL_BYTES, STEPS = 80_000, 1_000, 10
COSTS = Costs(
    down=lambda client: MODEL_BYTES,
    up=lambda client, codec, steps: int(PARAMETERS / 8 * float(codec.arguments["bits"])),
)


def fleet(step_s, uplink=1e6, run=None, **known):
    """Clients that differ in the seconds of a step, alike in all else."""
    clients = {
        f"c{at:02}": ClientTelemetry(
            f"c{at:02}", examples=10, step_s=each, uplink_bytes_per_s=uplink, **known
        )
        for at, each in enumerate(step_s)
    }
    return Telemetry(run or RunTelemetry(), clients)


def decide(telemetry, policy=None, **fields):
    """What the policy makes of a round of everybody, ten steps each."""
    names = tuple(sorted(telemetry.clients))

    def work(cohort, codec, most):
        return equal([MemberWork(each, min(most, STEPS)) for each in cohort])

    usual = Draft(
        round=1, rounds=20, size=len(names), smallest=2, max_steps=STEPS, deadline_s=3600.0,
        codec=CodecChoice("bf16"), costs=COSTS, cohort=lambda size: names[:size], work=work,
    )  # fmt: skip
    rng = np.random.Generator(np.random.Philox(1))
    return (policy or swift()).decide(telemetry, replace(usual, **fields), rng)


def worth(telemetry, steps_at, codec, length, noise):
    """The learning in a second of the module's formula, member by member."""
    moved = np.array(list(steps_at.values()), float)
    if not moved.any():
        return 0.0
    moved = np.minimum(moved, max(1.0, 3 * np.median(moved)))
    members = moved.sum() ** 2 / (moved**2).sum()
    said = 1 - 2 ** (-2 * codec.arguments["bits"])
    return said * moved.mean() * members / (members + noise) / (length + telemetry.run.overhead_s)


def steps_within(telemetry, codec, length):
    """Steps of each that are done by then; none of who has not done one."""
    found = {}
    for name, known in telemetry.clients.items():
        member = COSTS.worker(known, codec, STEPS)
        fits = member.seconds(1) <= length * (1 + 1e-9)
        found[name] = member.steps_within(length) if fits else 0
    return found


@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=6),
    st.floats(0.0, 30.0),
    st.floats(1e3, 1e7),
)
def test_no_other_round_teaches_more_in_a_second(step_s, overhead_s, uplink):
    """Of all lengths at which somebody ends a step and all rates, none has more worth than the chosen."""
    telemetry = fleet(step_s, uplink, RunTelemetry(overhead_s=overhead_s))
    policy = swift(reach=0.01, noise=1.0, min_bits=1.0, max_bits=2.0)

    chosen = decide(telemetry, policy)

    length = chosen.deadline_s / 1.25
    own = worth(telemetry, steps_within(telemetry, chosen.codec, length), chosen.codec, length, 1.0)
    for bits in (1.0, 1.25, 1.6, 2.0):
        codec = CodecChoice("ecdq", {"bits": bits})
        for known in telemetry.clients.values():
            for steps in range(1, STEPS + 1):
                other = COSTS.worker(known, codec, STEPS).seconds(steps)
                taken = steps_within(telemetry, codec, other)
                assert worth(telemetry, taken, codec, other, 1.0) <= own * (1 + 1e-6)


def test_the_slow_take_fewer_steps():
    """Members of a round end together: who needs longer for a step takes fewer."""
    decision = decide(fleet([1.0, 1.0, 5.0, 5.0]))

    fast, slow = decision.steps["c00"], decision.steps["c02"]
    assert fast > slow >= 1


@pytest.mark.parametrize("claim", [1e-9, 1e12, float("inf")])
def test_one_claim_costs_the_others_little(claim):
    """Whatever one of ten says of its speed, the others take nine tenths of their steps in a second."""
    honest = decide(fleet([1.0] * 10))

    bent = decide(fleet([1.0] * 9 + [claim]))

    before, after = (each.steps["c00"] / each.deadline_s for each in (honest, bent))
    assert after >= 0.9 * before


def test_enough_members_are_reached():
    """With reach 1 even the slowest ends a step before the round does."""
    decision = decide(fleet([0.1, 0.1, 0.1, 30.0]), swift(reach=1.0))

    assert decision.deadline_s > 30.0


def test_a_slow_line_lowers_the_rate():
    """Bits are worth their time on a quick line, and not on a slow one."""
    quick, slow = (decide(fleet([1.0] * 4, uplink)) for uplink in (1e7, 1e3))

    assert slow.codec.arguments["bits"] < quick.codec.arguments["bits"]


def test_a_long_fold_makes_longer_rounds():
    """What every round costs besides is shared by more steps."""
    short, long = (
        decide(fleet([0.5, 1.0, 2.0], run=RunTelemetry(overhead_s=each))) for each in (0.0, 100.0)
    )

    assert sum(long.steps.values()) > sum(short.steps.values())


@pytest.mark.parametrize(("asked", "steps"), [(0, 3), (1, 5), (2, 10), (5000, 10)])
def test_who_is_not_known_begins_with_few_steps(asked, steps):
    """A quarter of the steps, and twice as many with each further asking."""
    decision = decide(fleet([None, None], asked=asked))

    assert set(decision.steps.values()) == {steps}
    assert decision.deadline_s == 3600.0


def test_an_asynchronous_round_keeps_its_deadline():
    """Those who are at work already began at other times."""
    decision = decide(fleet([1.0, 1.0]), buffer=2)

    assert decision.deadline_s == 3600.0


def test_all_take_the_same_steps_where_nobody_waits():
    """In asynchronous rounds the slow take as many steps as the fast."""
    decision = decide(fleet([0.1, 5.0]), buffer=2)

    assert set(decision.steps.values()) == {STEPS}


def test_nothing_is_packed_where_no_tensors_travel():
    """A run whose clients send scalars has no rate to choose."""
    telemetry = fleet([1.0, 2.0])
    costs = replace(COSTS, up=lambda client, codec, steps: 100)

    decision = decide(telemetry, codec=None, costs=costs)

    assert decision.codec is None


@pytest.mark.parametrize(("loss", "ends"), [(0.21, False), (0.2, True), (0.1, True)])
def test_a_run_ends_at_the_loss_that_was_asked_for(loss, ends):
    """The newest held-out loss decides."""
    telemetry = fleet([1.0], run=RunTelemetry(losses=((0, 0.1), (3, loss))))

    decision = decide(telemetry, swift(until_loss=0.2))

    assert isinstance(decision, Stop) == ends


@pytest.mark.parametrize(
    "wrong",
    [
        {"reach": 0.0}, {"reach": 1.5}, {"trial": 0.0}, {"noise": -1.0}, {"patience": 0.5},
        {"noise": float("nan")}, {"codec": "bf16"}, {"min_bits": 3.0, "max_bits": 2.0},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_arguments_are_refused(wrong):
    """Each is said when the config is read."""
    with pytest.raises(ConfigError):
        swift(**wrong)
