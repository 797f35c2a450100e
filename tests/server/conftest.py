"""A federation of two clients on the seeds method, without any engine."""

import pytest
from tests.server.seeds_run import CLIENTS

from antiphon.core.clock import VirtualClock
from antiphon.core.config import config_hash, resolved
from antiphon.core.events import ClientJoined, RoundEvaluated
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.core.space import SpaceShapes
from antiphon.server.federation import Federation


@pytest.fixture
def make(tiny_config, tmp_path):
    """Open a federation of two clients on the seeds method; the same folder when called again."""
    config = tiny_config(
        "method=seeds", "seeds.num_seeds=16", "seeds.max_steps=16", "rounds=3", "output.plots=true"
    )
    folder = create(tmp_path, "run", resolved(config), config_hash(config))
    space = SpaceShapes({}, {"layer": (6, 4)}, "tiny", 24)
    opened = []

    def make(from_round=None, space=space):
        for journal in opened:
            journal.close()
        opened.append(Journal.writing(folder.journal_file))
        return Federation(config, folder, opened[-1], space, VirtualClock(), from_round)

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def federation(make):
    """A federation whose first round is open."""
    federation = make()
    federation.start(min_clients=2)
    for client in CLIENTS:
        federation.submit(ClientJoined(client, 10))
    federation.submit(RoundEvaluated(0, {"loss": 2.0}))
    federation.submit(federation.plan(1, CLIENTS))
    return federation
