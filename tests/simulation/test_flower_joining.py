"""Nodes at the door of a run over letters: the first says what is trained, and the others must agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.simulation.flower_nodes import SPACE, MemoryPost, only

from antiphon.core.config import config_hash
from antiphon.core.events import ClientJoined
from antiphon.core.journal import Journal
from antiphon.core.run_folder import newest
from antiphon.server.folding.space_file import read_space
from antiphon.server.planning.agreement import Disagreement
from antiphon.simulation.flower.grid_run import LoggingMonitor, serve_on_grid
from antiphon.simulation.flower.letters import Parcel
from antiphon.simulation.flower.roster import Roster
from antiphon.simulation.resumption import bytes_up
from antiphon.v1 import coordinator_pb2 as pb

NAMES = {11: "ada", 12: "bob", 13: "cyd"}


@pytest.fixture
def config(tiny_config):
    return tiny_config("lora.r=2", "rounds=1", "cohort.min_clients=2")


def joining(config, client="ada", **changes) -> Parcel:
    said = pb.JoinRequest(config_hash=config_hash(config), examples=10)
    for name, (rows, columns) in SPACE.factors.items():
        said.space.factors.add(name=name, rows=rows, columns=columns)
    said.space.model_digest = changes.pop("digest", b"")
    for name, value in changes.items():
        setattr(said, name, value)
    return Parcel(said.SerializeToString(), client=client)


def grown(letter, answer):
    """A node of another config, whose base model has one matrix more."""
    said = pb.JoinRequest.FromString(answer.message)
    said.config_hash = "another"
    said.space.factors.add(name="more", rows=4, columns=4)
    return replace(answer, message=said.SerializeToString())


def test_nodes_that_answer_together_all_join(tiny_config):
    """The first answer says what the run trains; those that have come with it are not lost."""
    config = tiny_config("lora.r=2", "rounds=1", "cohort.min_clients=3")

    folder = serve_on_grid(MemoryPost(config, NAMES), config, resume=False)

    with Journal.reading(folder.journal_file) as journal:
        joined = [each.event for each in journal.read(kinds=[ClientJoined])]
    assert {each.client for each in joined} == set(NAMES.values())


def test_a_node_of_another_config_does_not_say_what_is_trained(config):
    """Though it answers first."""
    post = MemoryPost(config, NAMES, only("ada", "join", grown))

    folder = serve_on_grid(post, config, resume=False)

    assert read_space(folder.space_file, config).factors == SPACE.factors


def test_a_run_that_goes_on_tells_what_was_sent_before(tiny_config, monkeypatch):
    """Its listener counts on from the updates that the journal holds."""
    config, heard = tiny_config("lora.r=2", "rounds=2", "cohort.min_clients=3"), []
    monkeypatch.setattr(LoggingMonitor, "started", lambda monitor, bytes_up: heard.append(bytes_up))

    with pytest.raises(KeyboardInterrupt):
        serve_on_grid(MemoryPost(config, NAMES, in_round(2)), config, resume=False)
    folder = newest(Path(config.output.runs_dir), config.name)
    with Journal.reading(folder.journal_file) as journal:
        sent = bytes_up(journal)
    serve_on_grid(MemoryPost(config, NAMES), config, resume=True)

    assert heard == [0, sent]
    assert sent > 0


def in_round(number):
    """Interrupts the run as soon as a client has trained in this round."""

    def answering(letter, answer):
        if letter.kind == "train" and letter.round == number:
            raise KeyboardInterrupt
        return answer

    return answering


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config_hash": "another"}, "its config is 'another'"),
        ({"examples": 2**62}, "expected at most"),
        ({"digest": b"x" * 1000}, "a model digest of 1000 bytes"),
        ({"client": "a\nb"}, "no client's name"),
    ],
)
def test_what_no_client_can_be_is_refused(config, changes, reason):
    """By the same bounds as at the coordinator's door."""
    with pytest.raises(Disagreement, match=reason):
        Roster(config, SPACE).admit(11, joining(config, **changes))


def test_base_weights_must_agree(config):
    """A run that names no weights takes the first node's, and every other node must have them too."""
    roster = Roster(config, SPACE)

    roster.admit(11, joining(config, "ada", digest=b"\1" * 32))

    with pytest.raises(Disagreement, match="0202020202020202…, the run began on 0101010101010101…"):
        roster.admit(12, joining(config, "bob", digest=b"\2" * 32))
    assert roster.admit(13, joining(config, "cyd", digest=b"\1" * 32)).client == "cyd"
