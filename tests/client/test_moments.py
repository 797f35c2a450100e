"""The optimizer's moments that a client keeps over its rounds, on its own disk."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from antiphon.client.by_round import ByRound
from antiphon.client.data.clients import encode_client
from antiphon.client.data.local import load_local
from antiphon.client.shapes import space_of
from antiphon.client.worker import Worker
from antiphon.core.types import Assignment
from antiphon.strategies.methods.method import method_of

STEPS = 3
PLAIN, KEEPING = "method=fedsb", "training.keep_moments=true"


class Client:
    """One client of a run on the tiny model. keep: its folder."""

    def __init__(self, config, keep):
        self.config, self.keep, self.worker = config, keep, Worker(config)
        local = load_local("all", config.data, config.seed)
        self.data = encode_client(self.worker.model.tokenizer, local.examples, 64)
        served = method_of(config).serve()
        self.download = served.download(served.begin(space_of(config)), config.lora.r)

    def round(self, number, *, steps=STEPS, folded=None, start=None):
        """Train from a point, by default the first; return where it ended, by name."""
        first, role = (number - 1) * STEPS, self.config.method.kind
        folded = number - 1 if folded is None else folded
        task = Assignment(number, "all", role, steps, first, 9, 1e-3, 8, 3, folded_round=folded)
        point = dict(start or self.download.arrays)
        model = replace(self.download, arrays=point)
        update = self.worker.train(task, model, self.data, lambda done, loss: None, keep=self.keep)
        return {name: point[name] + update.payload.arrays[name] for name in point}


@pytest.fixture
def client_of(tiny_config, tmp_path):
    """A client of a run with some settings, and its folder."""
    clients = []

    def made(*settings):
        clients.append(Client(tiny_config(*settings), tmp_path / str(len(clients))))
        return clients[-1]

    yield made
    for each in clients:
        with closing(each.worker):
            pass


def same(one, other, atol=0.0):
    return all(np.allclose(one[name], other[name], rtol=0, atol=atol) for name in one)


@pytest.mark.parametrize("method", ["fedsb", "ffa"])
def test_two_rounds_of_one_client_are_one_long_one(client_of, method):
    """Of a space whose means are exact, where nobody else trains: the same steps with the same moments."""
    client, other = (client_of(f"method={method}", KEEPING) for _ in range(2))

    twice = client.round(2, start=client.round(1))

    assert same(twice, other.round(1, steps=2 * STEPS), atol=1e-6)


def test_without_them_the_second_round_is_another(client_of):
    """What is shown above is the moments' doing."""
    client = client_of(PLAIN)
    other = client_of(PLAIN)

    twice = client.round(2, start=client.round(1))

    assert not same(twice, other.round(1, steps=2 * STEPS), atol=1e-3)
    assert not list(client.keep.glob("*"))


def test_a_round_that_was_not_folded_leaves_none(client_of):
    """Its update never arrived: the next round begins as if it had not been."""
    client = client_of(PLAIN, KEEPING)
    start = client.round(1)
    client.round(2, start=start)

    again = client.round(3, start=start, folded=1)

    other = client_of(PLAIN, KEEPING)
    other.round(1)
    assert same(again, other.round(3, start=start, folded=1))


def test_a_round_that_is_asked_for_twice_is_the_same(client_of):
    """A process that died after it had trained trains again, from what the round before has left."""
    client = client_of(PLAIN, KEEPING)
    start = client.round(1)

    first, second = (client.round(2, start=start) for _ in range(2))

    assert same(first, second)


def test_two_rounds_at_most_lie_on_the_disk(client_of):
    """That of the last fold, and that which may be folded next."""
    client = client_of(PLAIN, KEEPING)

    for number in (1, 2, 3, 4):
        client.round(number)

    assert len(list(client.keep.glob("*"))) == 2


def test_damaged_ones_are_dropped(client_of):
    """A disk's fault costs the moments, not the client's rounds."""
    client = client_of(PLAIN, KEEPING)
    start = client.round(1)
    for file in client.keep.glob("*"):
        file.write_bytes(b"nonsense")

    fresh = client.round(2, start=start)

    assert same(fresh, client_of(PLAIN, KEEPING).round(2, start=start))


def test_those_of_other_weights_are_not_taken(client_of):
    """The adapter's rank has changed since."""
    client = client_of(PLAIN, KEEPING)
    narrow = client_of(PLAIN, KEEPING, "lora.r=4")
    narrow.round(1)
    client.keep = narrow.keep

    fresh = client.round(2)

    assert same(fresh, client_of(PLAIN, KEEPING).round(2))


def test_none_are_kept_where_nobody_asks(client_of):
    """A round begins with fresh ones: no file is written."""
    client = client_of(PLAIN)

    client.round(1)

    assert not list(client.keep.glob("*"))


def test_one_purpose_leaves_the_files_of_another_alone(tmp_path):
    """Residuals and moments lie in one folder."""
    one, other = ByRound(tmp_path, "residual"), ByRound(tmp_path, "trainer")
    task = Assignment(1, "all", "lora", 1, 0, 9, 1e-3, 8, 3)
    one.keep(task, {"w": np.ones(3, np.float32)})

    for number in (2, 3):
        other.keep(replace(task, round=number, folded_round=number - 1), {"w": np.zeros(2)})

    assert list(one.before(replace(task, round=2, folded_round=1))) == ["w"]
