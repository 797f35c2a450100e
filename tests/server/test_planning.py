"""Plans follow from the config, the round and what was measured, and say why."""

import pytest

from antiphon.core.errors import ConfigError
from antiphon.core.events import RunStopped
from antiphon.core.space import SpaceShapes
from antiphon.server.planning.plans import (
    assignment_of,
    check_cohort,
    client_seed,
    clients_needed,
    fewest_folded,
    plan_round,
)
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry, Telemetry

CLIENTS = ("a", "b", "c", "d", "e")
SPACE = SpaceShapes({"m.lora_A.weight": (8, 100), "m.lora_B.weight": (100, 8)}, {}, "tiny", 10_000)


def measured(**step_s):
    """What is known of clients whose steps take so long."""
    return Telemetry(clients={k: ClientTelemetry(k, 10, step_s=v) for k, v in step_s.items()})


def test_the_same_round_has_the_same_plan(tiny_config):
    """A plan depends on the seed, the round and who is here; the order of clients does not matter."""
    config = tiny_config("cohort={size: 2, scheduler: random}")

    plans = [plan_round(config, 3, clients, 1.0) for clients in (CLIENTS, CLIENTS[::-1])]

    assert plans[0] == plans[1]


def test_rounds_choose_different_cohorts(tiny_config):
    """Over twenty rounds everybody is chosen."""
    config = tiny_config("cohort={size: 2, scheduler: random}")

    chosen = {client for n in range(1, 21) for client in plan_round(config, n, CLIENTS, 1.0).cohort}

    assert chosen == set(CLIENTS)


def test_assignments_go_on_over_the_rounds(tiny_config):
    """The third round's first step follows the second round's last."""
    config = tiny_config("training.max_steps=5", "rounds=4")

    assignment = assignment_of(config, plan_round(config, 3, CLIENTS, 1.0), "b")

    assert (assignment.first_step, assignment.steps, assignment.total_steps) == (10, 5, 20)


def test_the_seeds_rate_follows_the_rounds_and_the_guard(tiny_config):
    """A linear schedule over four rounds, halved once by the guard."""
    config = tiny_config(
        "method=seeds", "rounds=4", "seeds.learning_rate=0.8", "seeds.lr_scheduler_type=linear"
    )

    rates = [plan_round(config, n, CLIENTS, 0.5).plan["a"]["learning_rate"] for n in (1, 2, 3, 4)]

    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("overrides", "clients", "pool"),
    [
        ((), 5, 25),
        (("seeds.overlap=1",), 5, 0),
        (("seeds.overlap=100",), 5, 10),
        (("seeds.num_seeds=12",), 5, 0),
        ((), 2, 0),
    ],
)
def test_a_rounds_seeds_are_tried_by_several_clients(tiny_config, overrides, clients, pool):
    """Five clients of ten steps share 25 seeds, two to each on average; two cannot be compared."""
    config = tiny_config("method=seeds", "seeds.max_steps=10", *overrides)

    plan = plan_round(config, 1, CLIENTS[:clients], 1.0)

    assert assignment_of(config, plan, CLIENTS[0]).pool == pool


def test_clients_have_seeds_of_their_own():
    """Two clients of a run, and one client in two runs, shuffle differently."""
    assert len({client_seed(1, "a"), client_seed(1, "b"), client_seed(2, "a")}) == 3


def test_a_quorum_of_absent_clients_is_refused(tiny_config):
    """More clients than the data has cannot be asked for."""
    with pytest.raises(ConfigError, match=r"cohort\.quorum is 9"):
        check_cohort(tiny_config("cohort={quorum: 9}"), CLIENTS)


def test_an_unknown_sender_of_scalars_is_refused(tiny_config):
    """A name that nobody has would leave everybody with deltas."""
    config = tiny_config("method=mixed", "seeds.space=adapter", "mixed.seeds=[a, harbor]")

    with pytest.raises(ConfigError, match=r"mixed\.seeds names harbor, but the clients are a, b"):
        check_cohort(config, CLIENTS)


def test_scalars_are_of_the_whole_adapter(tiny_config):
    """A client of smaller rank that sends scalars, by its device, is planned at the rank of the adapter."""
    known = {"a": ClientTelemetry("a", 10, device="cpu"), "b": ClientTelemetry("b", 10)}
    config = tiny_config(
        "method=mixed", "seeds.space=adapter", "mixed.seeds_devices=[cpu]", "lora.r=8",
        "lora.client_ranks={a: 2, b: 2}",
    )  # fmt: skip

    plan = plan_round(config, 1, ("a", "b"), 1.0, Telemetry(clients=known)).plan

    assert (plan["a"]["method"], plan["a"]["r"]) == ("seeds", 8)
    assert (plan["b"]["method"], plan["b"]["r"]) == ("lora", 2)


def test_a_buffer_is_no_smaller_than_the_quorum(tiny_config):
    """Half of five would be three: with a quorum of four, a fold has four updates."""
    plan = plan_round(tiny_config("cohort={quorum: 4, asynchronous: {}}"), 1, CLIENTS, 1.0)

    assert (plan.enough, plan.quorum) == (4, 4)


def test_a_run_waits_for_its_quorum(tiny_config):
    """Rounds are not planned with fewer clients than a fold needs."""
    assert clients_needed(tiny_config("cohort={min_clients: 2, quorum: 3}")) == 3


def test_over_selection_asks_more_than_it_needs(tiny_config):
    """Half as many again are asked, and the first cohort.size updates close the round."""
    config = tiny_config("cohort={size: 3, scheduler: random, over_selection: 1.5}")

    plan = plan_round(config, 1, CLIENTS, 1.0)

    assert (len(plan.cohort), plan.enough, plan.quorum) == (5, 3, 3)


def test_a_plain_round_waits_for_everybody(tiny_config):
    """Without over-selection, nothing but the last update closes a round early."""
    plan = plan_round(tiny_config("cohort={quorum: 2}"), 1, CLIENTS, 1.0)

    assert (plan.enough, plan.quorum, plan.max_staleness) == (0, 2, None)


def test_an_asynchronous_round_closes_with_half_of_the_cohort(tiny_config):
    """Of five at work, three updates are a buffer; whoever is late may be ten rounds stale."""
    plan = plan_round(tiny_config("cohort={asynchronous: {}}"), 1, CLIENTS, 1.0)

    assert (plan.enough, plan.quorum, plan.max_staleness) == (3, 3, 10)


def test_the_busy_count_towards_the_cohort(tiny_config):
    """Of a cohort of four, three are still at work: one idle client is asked."""
    config = tiny_config("cohort={size: 4, scheduler: random, asynchronous: {buffer: 2}}")

    plan = plan_round(config, 2, ("d", "e"), 1.0, busy=("a", "b", "c"))

    assert (len(plan.cohort), plan.enough, plan.quorum) == (1, 2, 2)


def test_nobody_is_asked_where_all_are_busy(tiny_config):
    """A round may consist of those who are still at work."""
    plan = plan_round(tiny_config("cohort={asynchronous: {}}"), 2, (), 1.0, busy=CLIENTS)

    assert (plan.cohort, plan.enough) == ((), 3)


def test_balanced_work_gives_slow_clients_fewer_steps(tiny_config):
    """Twice as slow: half the steps; the plan keeps the measurements that this rests on."""
    config = tiny_config("training.max_steps=10", "cohort.work=balanced")

    plan = plan_round(config, 1, ("a", "b", "c"), 1.0, measured(a=1.0, b=2.0))

    assert [plan.plan[each]["steps"] for each in "abc"] == [10, 5, 10]
    assert plan.telemetry == {"a": {"step_s": 1.0}, "b": {"step_s": 2.0}}


def test_a_plan_that_rests_on_nothing_keeps_nothing(tiny_config):
    """The default scheduler and policy look at no measurement, so none is in the journal."""
    assert plan_round(tiny_config(), 1, ("a", "b"), 1.0, measured(a=1.0)).telemetry == {}


def test_fewer_steps_do_not_shift_the_schedule(tiny_config):
    """A client that takes half the steps follows the learning rates of the same rounds."""
    config = tiny_config("training.max_steps=10", "rounds=4", "cohort.work=balanced")
    plan = plan_round(config, 3, ("a", "b"), 1.0, measured(a=1.0, b=2.0))

    slow = assignment_of(config, plan, "b")

    assert (slow.first_step, slow.steps, slow.total_steps) == (20, 5, 40)


def test_oort_s_plan_keeps_what_it_looked_at(tiny_config):
    """Loss, duration and last round of each member are in the journal."""
    config = tiny_config("cohort={size: 1, scheduler: oort}")
    known = ClientTelemetry(
        "a", 10, loss=2.0, rms_loss=2.5, turnaround_s=9.0, last_round=3, asked=2
    )

    plan = plan_round(config, 5, ("a",), 1.0, Telemetry(clients={"a": known}))

    row = {"examples": 10, "rms_loss": 2.5, "turnaround_s": 9.0, "last_round": 3, "asked": 2}
    assert plan.telemetry == {"a": row}


def test_a_row_names_its_codec_and_arguments(tiny_config):
    """What the policy chose stands in every member's row, and reaches the assignment."""
    stage = "policy={kind: staged, stages: [{from_round: 2, codec: ecdq, bits: 1.5}]}"
    config = tiny_config(stage)

    plan = plan_round(config, 2, ("a", "b"), 1.0)

    assert plan.plan["a"] | {"codec": "ecdq", "codec.bits": 1.5} == plan.plan["a"]
    assert assignment_of(config, plan, "b").codec.arguments == {"bits": 1.5}
    assert plan.reason == (
        "all: 2 of 2 clients, stage 1 of 1 (from round 2): codec ecdq (bits 1.5)"
    )


def test_seed_scalars_have_no_codec(tiny_config):
    """A policy that turns codecs leaves method seeds alone."""
    stage = "policy={kind: staged, stages: [{from_round: 1, codec: ecdq, steps: 1}]}"

    plan = plan_round(tiny_config("method=seeds", stage), 1, ("a",), 1.0)

    assert plan.plan["a"]["steps"] == 1
    assert "codec" not in plan.plan["a"]


def test_a_policy_may_end_the_run(tiny_config):
    """A budget that holds no round gives RunStopped in place of a plan, with whose word it is and the
    figures.
    """
    config = tiny_config("policy={kind: adaptive, bytes: 100}")

    stopped = plan_round(config, 1, CLIENTS, 1.0, space=SPACE)

    assert isinstance(stopped, RunStopped)
    assert stopped.by_policy
    assert stopped.reason.startswith("stopped by policy: ")
    assert "100 B" in stopped.reason


def test_a_budget_shrinks_the_cohort_down_to_the_quorum(tiny_config):
    """Where the scheduler may leave clients out, a tight budget asks fewer of them."""
    config = tiny_config(
        "cohort={size: 5, quorum: 2, scheduler: random}", "rounds=2",
        "policy={kind: adaptive, bytes: 90_000}",
    )  # fmt: skip

    plan = plan_round(config, 1, CLIENTS, 1.0, Telemetry(RunTelemetry(simulated=True)), space=SPACE)

    assert 2 <= len(plan.cohort) < 5
    assert plan.quorum == 2


@pytest.mark.parametrize(
    ("overrides", "fewest"),
    [
        (("cohort={size: 4, scheduler: random}",), 3),
        (("cohort={size: 4, scheduler: random, quorum: 3}",), 3),
        (("cohort={size: 4, scheduler: random, asynchronous: {}}",), 2),
        (("cohort={size: 4, scheduler: random, quorum: 3, asynchronous: {}}",), 3),
        (
            (
                "cohort={size: 4, scheduler: random}",
                "policy={kind: staged, stages: [{from_round: 9, size: 3}]}",
            ),
            2,
        ),
    ],
)
def test_clients_are_promised_the_least_cohort(tiny_config, overrides, fewest):
    """Quorum, buffer, stages and the bench all lower how many updates a round may fold together."""
    assert fewest_folded(tiny_config(*overrides)) == fewest


def test_a_stage_cannot_shrink_a_cohort_of_all(tiny_config):
    """A config whose stage would leave clients out, against its scheduler, is refused at once."""
    with pytest.raises(ConfigError, match="random"):
        tiny_config("policy={kind: staged, stages: [{from_round: 2, size: 1}]}")


@pytest.mark.parametrize(("on_trial", "quorum"), [((), 5), (("north",), 4), (None, 3)])
def test_a_quorum_that_is_left_out_counts_on_nobody_on_trial(tiny_config, on_trial, quorum):
    """The whole cohort without them is asked for, and a majority at least."""
    trial = CLIENTS if on_trial is None else CLIENTS[: len(on_trial)]

    plan = plan_round(tiny_config(), 1, CLIENTS, 1.0, on_trial=trial)

    assert (len(plan.cohort), plan.quorum) == (5, quorum)
