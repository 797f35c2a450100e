"""Budgets: how many steps fit, and that a budget changes nothing else."""

from contextlib import closing

import numpy as np
import pytest

from antiphon.client.budget import Budget, Meter
from antiphon.client.data.clients import encode_client
from antiphon.client.data.local import load_local
from antiphon.client.shapes import space_of
from antiphon.client.worker import Worker
from antiphon.core.clock import VirtualClock
from antiphon.core.types import Assignment
from antiphon.strategies.methods.method import method_of

KINDS = {
    "lora": ["method=lora"],
    "lowrank": ["method=seeds"],
    "dense": ["method=seeds", "seeds.directions.kind=rademacher"],
}


class Client:
    """One worker on the tiny model, whose clock moves by `step_s` with every step."""

    def __init__(self, config, step_s=0.0):
        self.clock, self.step_s = VirtualClock(100.0), step_s
        self.config, self.worker = config, Worker(config)
        local = load_local("all", config.data, config.seed)
        self.data = encode_client(self.worker.model.tokenizer, local.examples, 64)
        served = method_of(config).serve()
        self.download = served.download(served.begin(space_of(config)), config.lora.r)

    def train(self, *, steps=6, seconds=None, max_tokens=0, in_budget=0, on_step=None):
        task = Assignment(1, "all", self.config.method.kind, steps, 0, 6, 1e-3, 8, 3, max_tokens)
        budget = Budget(seconds, self.clock.now, in_budget)
        return self.worker.train(task, self.download, self.data, on_step or self._step, budget)

    def _step(self, done, loss):
        self.clock.advance_to(self.clock.now() + self.step_s)


@pytest.fixture(params=KINDS)
def client(request, tiny_config):
    client = Client(tiny_config(*KINDS[request.param]), step_s=2.0)
    with closing(client.worker):
        yield client


def arrays(update):
    return dict(update.payload.arrays)


def same(one, other):
    left, right = arrays(one), arrays(other)
    return set(left) == set(right) and all(np.array_equal(left[n], right[n]) for n in left)


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 1), (4.0, 2), (7.9, 3), (12.0, 6), (None, 6)])
def test_steps_stop_before_the_time_is_over(client, seconds, steps):
    """Of two-second steps as many are taken as fit, and one at least."""
    update = client.train(seconds=seconds)

    assert update.steps == steps
    assert update.metrics["seconds"] == 2.0 * steps


def test_a_short_update_is_that_of_fewer_steps(client):
    """What three steps of six have done is what an assignment of three steps does."""
    stopped = client.train(seconds=6.0)
    short = client.train(steps=3)

    assert same(stopped, short)
    assert stopped.metrics["loss"] == short.metrics["loss"]


def test_a_budget_that_suffices_changes_no_bit(client):
    """With and without a limit, six steps are the same six steps."""
    free = client.train()
    limited = client.train(seconds=1e6, max_tokens=10**9)

    assert same(free, limited)


def test_tokens_stop_after_the_step_that_reaches_them(client):
    """The stricter of the assignment's and the client's own limit ends the work."""
    tokens = client.train(steps=2).metrics["tokens"]

    assert client.train(max_tokens=int(tokens)).steps == 2
    assert client.train(max_tokens=int(tokens) + 1).steps == 3
    assert client.train(max_tokens=10**9, in_budget=1).steps == 1
    assert 2 * 16 < tokens <= 2 * 16 * 64


def test_a_cancelled_assignment_leaves_a_worker_that_can_go_on(client):
    """An exception of on_step passes through, and the next update is what it would have been."""
    expected = client.train()

    def cancel(done, loss):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        client.train(on_step=cancel)

    assert same(client.train(), expected)


def test_loading_counts_but_does_not_make_steps_look_slow():
    """The time before the first step is spent, and is no part of a step's mean time."""
    clock = VirtualClock()
    meter = Meter(Budget(10.0, clock.now))
    clock.advance_to(6.0)

    for _ in meter.limit(range(100)):
        clock.advance_to(clock.now() + 1.0)
        meter.step_taken(5)

    assert (meter.steps, meter.tokens) == (4, 20)
    assert meter.metrics() == {"seconds": 10.0, "tokens": 20.0}


def test_losses_of_the_steps_are_reported(client):
    """An update has the mean of its steps' losses, and the root of their mean square."""
    seen = []

    update = client.train(steps=4, on_step=lambda done, loss: seen.append(loss))

    assert update.metrics["loss"] == pytest.approx(np.mean(seen))
    assert update.metrics["rms_loss"] == pytest.approx(np.sqrt(np.mean(np.square(seen))))
