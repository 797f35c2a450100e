"""Policies: what a round uses, why, and the budgets that are never overrun."""

from dataclasses import replace

import numpy as np
import pytest

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice
from antiphon.strategies.policy.adaptive import adaptive
from antiphon.strategies.policy.costs import Costs
from antiphon.strategies.policy.fixed import fixed
from antiphon.strategies.policy.policy import Decision, Draft, Stop
from antiphon.strategies.policy.staged import staged
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry, Telemetry
from antiphon.strategies.scheduling.work import equal

NAMES = tuple("abcdefgh")
PARAMETERS, MODEL_BYTES = 8_000, 1_000
STAGES = [
    {"from_round": 1, "codec": "bf16"},
    {"from_round": 4, "codec": "ecdq", "bits": 1.0, "steps": 5},
    {"below_loss": 0.9, "codec": "ecdq", "bits": 0.3, "size": 4},
]


def up(client, codec, steps):
    """A byte per bit of rate and thousand parameters; float32 where no rate is given."""
    return int(PARAMETERS / 8 * float((codec and codec.arguments.get("bits")) or 32.0))


def draft(telemetry, **fields):
    """Eight clients of ten steps, the quorum two, sixteen rounds."""
    costs = Costs(down=lambda client: MODEL_BYTES, up=up, evaluation=fields.pop("evaluation", 0))

    def work(cohort, codec, most):
        known = [costs.worker(telemetry.of(client), codec, min(most, 10)) for client in cohort]
        return equal(known)

    usual = Draft(
        round=1,
        rounds=16,
        size=8,
        smallest=2,
        max_steps=10,
        deadline_s=3600.0,
        codec=CodecChoice("bf16"),
        costs=costs,
        cohort=lambda size: NAMES[:size],
        work=work,
    )
    return replace(usual, **fields)


def decide(policy, telemetry=None, **fields):
    telemetry = telemetry or Telemetry()
    rng = np.random.Generator(np.random.Philox(1))
    return policy.decide(telemetry, draft(telemetry, **fields), rng)


def measured(uplink=1e4, step_s=1.0, **run):
    """Every client with the same links and speed."""
    clients = {
        name: ClientTelemetry(
            name, uplink_bytes_per_s=uplink, downlink_bytes_per_s=1e6, step_s=step_s
        )
        for name in NAMES
    }
    return Telemetry(RunTelemetry(**run), clients)


def test_fixed_changes_nothing():
    """Codec, cohort, steps and deadline are the draft's."""
    decision = decide(fixed())

    assert decision == Decision(
        8, dict.fromkeys(NAMES, 10), CodecChoice("bf16"), 3600.0, "as the config fixes it"
    )


def test_stages_begin_at_their_rounds():
    """From round 4 on the second stage is in force, and says so."""
    decision = decide(staged(stages=STAGES), round=5)

    assert decision.codec == CodecChoice("ecdq", {"bits": 1.0})
    assert set(decision.steps.values()) == {5}
    assert decision.reason == "stage 2 of 3 (from round 4): codec ecdq (bits 1), 5 steps"


def test_a_stage_says_what_it_gets():
    """What is asked for above the run's limits is cut to them, and the reason says so."""
    asked = {"from_round": 1, "steps": 999, "size": 50}

    decision = decide(staged(stages=[asked]), Telemetry())

    assert decision.reason.endswith("10 (of 999 asked for) steps, cohort size 8 (of 50 asked for)")
    assert set(decision.steps.values()) == {10}


def test_a_stage_by_loss_stays_in_force():
    """Once an evaluation was below the bound, the stage holds, though the loss rises again."""
    run = RunTelemetry(losses=((0, 2.0), (1, 0.8), (2, 1.5)))

    decision = decide(staged(stages=STAGES), Telemetry(run), round=3)

    assert decision.codec == CodecChoice("ecdq", {"bits": 0.3})
    assert decision.size == len(decision.steps) == 4
    assert decision.seen == {"run": {"lowest_loss": 0.8}}


def test_before_the_first_stage_the_config_holds():
    """No stage has begun: the round is as drafted, and the reason says why."""
    decision = decide(staged(stages=[{"from_round": 9, "steps": 1}]))

    assert decision.codec == CodecChoice("bf16")
    assert "before the first of 1 stages" in decision.reason


def test_a_stage_never_raises_the_config_s_steps_or_cohort():
    """The learning-rate schedule is of max_steps, and the fleet is as large as it is."""
    decision = decide(staged(stages=[{"from_round": 1, "steps": 99, "size": 99}]))

    assert (decision.size, set(decision.steps.values())) == (8, {10})


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"codec": "bf16"}, "either from_round or below_loss"),
        ({"from_round": 1, "below_loss": 1.0}, "either from_round or below_loss"),
        ({"from_round": 0}, "at least 1"),
        ({"from_round": 1, "bits": 1.0}, "no codec"),
        ({"from_round": 1, "codec": "bf61"}, "Did you mean 'bf16'"),
        ({"from_round": 1, "codec": "ecdq", "bit": 1.0}, "bit"),
        ({"below_loss": "low"}, "number"),
    ],
)
def test_a_wrong_stage_is_refused(stage, said):
    """What a stage cannot mean is a config error that names it."""
    with pytest.raises(ConfigError, match=said):
        registry.build("policy", "staged", {"stages": [stage]})


def test_adaptive_spends_an_even_share():
    """The rate is the highest whose round fits the budget's sixteenth: 8 × (1,000 B + 1,000 B × bits)."""
    decision = decide(adaptive(bytes=16 * 8 * 3_000))

    assert decision.codec == CodecChoice("ecdq", {"bits": 2.0})
    assert decision.reason == "ecdq at 2 bits, 24 kB at most of 384 kB left for 16 rounds"


def test_adaptive_hands_on_what_was_left():
    """What earlier rounds have not spent raises the rate of later ones."""
    run = RunTelemetry(bytes_up=10_000)

    decision = decide(adaptive(bytes=16 * 8 * 3_000), Telemetry(run), round=16)

    assert decision.codec.arguments["bits"] == 8.0


def test_adaptive_shrinks_the_cohort_below_its_lowest_rate():
    """Where the lowest rate of all is too much, fewer clients are asked, but no fewer than the quorum."""
    decision = decide(adaptive(bytes=16 * 5_000, min_bits=1.0))

    assert decision.codec.arguments["bits"] >= 1.0
    assert 2 <= decision.size == len(decision.steps) < 8


def test_adaptive_prefers_few_rounds_to_none():
    """The smallest round fits what is left, not its share: it is held."""
    decision = decide(adaptive(bytes=4_000))

    assert decision.size == 2


def test_adaptive_spends_on_the_rounds_that_can_be_held():
    """45 kB hold four rounds of 8 × (1,000 B + 320 B) and not sixteen: each gets a quarter of them."""
    decision = decide(adaptive(bytes=45_000), smallest=8)

    assert decision.codec.arguments["bits"] == 0.4
    assert decision.reason == "ecdq at 0.4 bits, 11.2 kB at most of 45 kB left for 4 of 16 rounds"


@pytest.mark.parametrize(("model_bytes", "bits"), [(0, 0.25), (1_000, 0.32), (30_000, 3.2)])
def test_adaptive_takes_no_rate_that_saves_little(model_bytes, bits):
    """The lowest rate is the highest that adds a tenth at most to what the round costs anyway."""
    costs = Costs(down=lambda client: model_bytes, up=up)
    lowest = 8 * (model_bytes + 250)

    decision = decide(adaptive(bytes=int(lowest * 1.1)), costs=costs, smallest=8)

    assert decision.codec.arguments["bits"] == bits


def test_adaptive_takes_the_lowest_rate_where_no_other_fits():
    """A last round at a poor rate is better than none."""
    decision = decide(adaptive(bytes=8 * 1_260), round=16, smallest=8)

    assert decision.codec.arguments["bits"] == 0.25


def test_adaptive_shares_time_over_the_rounds_that_bytes_allow():
    """Bytes for two of sixteen rounds: each may take half of the 40 s, not a sixteenth."""
    decision = decide(adaptive(bytes=22_000, seconds=40.0), measured(uplink=1e6), smallest=8)

    assert set(decision.steps.values()) == {10}


def test_adaptive_counts_what_asynchronous_rounds_ask_for():
    """The first asks eight, and each of the other fifteen two: it may spend 8 of 38 parts."""
    decision = decide(adaptive(bytes=38 * 3_000), buffer=2)

    assert decision.codec.arguments["bits"] == 2.0


def test_adaptive_lets_asynchronous_work_outlast_its_round():
    """Of eight at work two close a round: each may take four rounds' time, 9 s of 10 instead of 2.25."""
    decision = decide(adaptive(seconds=40.0), measured(uplink=1e6), buffer=2)

    assert set(decision.steps.values()) == {8}


def test_adaptive_waits_for_those_at_work():
    """Who is asked now may be quicker than who is at work: the round is not cut off by his time."""
    decision = decide(adaptive(seconds=100.0), measured(step_s=0.1), size=2, busy=6, buffer=4)

    assert decision.deadline_s == 50.0


def test_adaptive_ends_the_run_before_the_budget_does():
    """Not even the smallest round fits: the run stops, and the reason has the figures."""
    run = RunTelemetry(bytes_up=6_000, bytes_down=3_000, reserved_bytes=500)

    decision = decide(adaptive(bytes=10_000), Telemetry(run), round=7)

    assert decision == Stop(
        "the budget is used up, 9 kB of 10 kB are spent and 500 B reserved: the smallest round takes "
        "2.5 kB at most, 500 B are left"
    )


def test_adaptive_counts_the_evaluation():
    """The models that go out to be measured are part of a round's bound."""
    lean, rich = (
        decide(adaptive(bytes=16 * 8 * 3_000), evaluation=size).codec.arguments["bits"]
        for size in (8_000, 0)
    )

    assert lean == 1.0 < rich


def test_adaptive_says_what_it_reserves():
    """A decision carries each member's bound and the evaluation's, to be set aside."""
    seen = decide(adaptive(bytes=16 * 8 * 3_000), evaluation=800).seen

    assert seen["a"] == {"most_bytes": 1_000 + 1_600}
    assert seen["run"]["evaluation_bytes"] == 800


def test_adaptive_fits_the_work_to_the_time():
    """160 s are ten for a round: at 1 s a step and 0.5 s of transfer, eight steps fit into nine tenths."""
    decision = decide(adaptive(seconds=160.0, max_bits=5.0), measured())

    assert decision.codec.arguments["bits"] == 5.0
    assert set(decision.steps.values()) == {8}
    assert decision.deadline_s == pytest.approx(2 * (8 + 0.501), abs=0.01)


def test_adaptive_lowers_the_rate_on_slow_links():
    """The upload may take half of a round's time: at 1 kB/s, 5 s are 5 bits."""
    decision = decide(adaptive(seconds=160.0), measured(uplink=1e3))

    assert decision.codec.arguments["bits"] == 4.0


def test_adaptive_bounds_the_deadline_by_the_time_left():
    """A round of which nothing is measured gets half of what is left, the last one all of it."""
    first = decide(adaptive(seconds=100.0), Telemetry(RunTelemetry(seconds=20.0)))
    last = decide(adaptive(seconds=100.0), Telemetry(RunTelemetry(seconds=20.0)), round=16)

    assert (first.deadline_s, last.deadline_s) == (40.0, 80.0)


def test_adaptive_keeps_time_for_the_fold_and_the_evaluation():
    """The longest that they have taken is not the round's to spend."""
    run = RunTelemetry(seconds=20.0, overhead_s=30.0)

    decision = decide(adaptive(seconds=100.0), Telemetry(run), round=16)

    assert decision.deadline_s == 50.0


def test_adaptive_does_not_begin_a_round_that_cannot_end():
    """The fastest quorum needs 4 s for one step, 3 s are left: the run ends."""
    slow = measured(step_s=4.0, seconds=97.0)

    decision = decide(adaptive(seconds=100.0), slow, round=16)

    assert isinstance(decision, Stop)
    assert "3 s are left" in decision.reason


def test_adaptive_leaves_seed_scalars_alone():
    """Where nobody sends tensors there is no rate to turn: cohort and work are left."""
    decision = decide(adaptive(bytes=10**9), codec=None)

    assert decision.codec is None
    assert decision.size == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "no budget"),
        ({"bytes": 0}, "above 0"),
        ({"bytes": 10, "min_bits": 3.0, "max_bits": 2.0}, "min_bits"),
        ({"bytes": 10, "codec": "bf16"}, "use ecdq"),
    ],
)
def test_contradictory_budgets_are_refused(arguments, said):
    """A policy that could not do what its arguments say is a config error."""
    with pytest.raises(ConfigError, match=said):
        registry.build("policy", "adaptive", arguments)
