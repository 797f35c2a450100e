"""Plans follow from the config and the round, and say why."""

import pytest

from antiphon.core.errors import ConfigError
from antiphon.server.planning import assignment_of, check_cohort, client_seed, plan_round

CLIENTS = ("a", "b", "c", "d", "e")


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


def test_clients_have_seeds_of_their_own():
    """Two clients of a run, and one client in two runs, shuffle differently."""
    assert len({client_seed(1, "a"), client_seed(1, "b"), client_seed(2, "a")}) == 3


def test_a_quorum_of_absent_clients_is_refused(tiny_config):
    """More clients than the data has cannot be asked for."""
    with pytest.raises(ConfigError, match=r"cohort\.quorum is 9"):
        check_cohort(tiny_config("cohort={quorum: 9}"), CLIENTS)
