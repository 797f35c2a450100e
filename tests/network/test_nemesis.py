"""Kill -9 at every step: nothing acknowledged is lost, nothing counts twice, the model is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.network.history import Answer, violations
from tests.network.nemesis import CLIENTS, COORDINATOR, OF_A_DAEMON, STEPS, Death, Nemesis, judged

from antiphon.core.events import (
    ClientJoined,
    RoundEvaluated,
    RoundPlanned,
    RunStarted,
    Ticked,
    UpdateReceived,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder

ROUNDS = 8
EVERY_STEP = (
    Death(COORDINATOR, "before acknowledgement", passes=2),
    *(Death(CLIENTS[number], step, passes=2) for number, step in enumerate(OF_A_DAEMON)),
    Death(COORDINATOR, "upload spooled", passes=2),
    Death(COORDINATOR, "update linked", passes=2),
    Death(COORDINATOR, "during fold"),
    Death(COORDINATOR, "events stepped", passes=4),
    Death(COORDINATOR, "state written"),
    Death(COORDINATOR, "events committed", passes=4),
    Death(COORDINATOR, "during publish"),
)
SOME_STEPS = (
    Death(COORDINATOR, "update linked", passes=3),
    Death(CLIENTS[1], "outbox written", passes=2),
    Death(COORDINATOR, "during publish", passes=2),
    Death(CLIENTS[2], after_s=1.1),
    Death(COORDINATOR, after_s=1.3),
)
UPDATE = UpdateReceived("ada", 1, "d" * 64, 100, 10, 1)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that has started, and no more."""
    with Journal.writing(tmp_path / "journal.sqlite") as journal:
        journal.append(RunStarted("run", "hash", 1, 3, 3), 100.0)
    return RunFolder(tmp_path)


def write(folder: RunFolder, *events: UpdateReceived) -> None:
    """Append to the journal, at 100 s."""
    with Journal.writing(folder.journal_file) as journal:
        journal.append_many(events, 100.0)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "schedule"), [("lora", EVERY_STEP), ("seeds", SOME_STEPS)])
def test_a_run_survives_kills_at_every_step(method, schedule, tmp_path):
    """All acknowledged updates count exactly once, and every round's adapter is what it would have been."""
    undisturbed = Nemesis(tmp_path / "undisturbed", method, ROUNDS).run(60.0)

    history = Nemesis(tmp_path / "disturbed", method, ROUNDS, schedule).run(120.0)

    assert judged(history, undisturbed.folder) == []
    assert undisturbed.problems == ()
    assert sorted(map(repr, history.deaths)) == sorted(map(repr, schedule))
    assert len({(answer.client, answer.round) for answer in history.told}) >= ROUNDS * 2


@pytest.mark.slow
def test_changes_survive_kills(tmp_path):
    """A daemon that comes back adds to the model that it had, or fetches the whole of it."""
    changes = {"compression": {"downlink": {"kind": "ecdq", "bits": 1.0}, "changes": True}}
    undisturbed = Nemesis(tmp_path / "undisturbed", "lora", ROUNDS, also=changes).run(60.0)

    disturbed = Nemesis(tmp_path / "disturbed", "lora", ROUNDS, SOME_STEPS, also=changes)

    assert judged(disturbed.run(120.0), undisturbed.folder) == []


def test_every_step_is_in_the_schedule():
    """A step that is added to core/fault_points.py is killed at."""
    assert {death.step for death in EVERY_STEP} == set(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "kinds"),
    [("ack-before-commit", {"lost"}), ("no-idempotency-key", {"twice", "refused"})],
)
def test_a_planted_bug_is_noticed(bug, kinds, tmp_path):
    """The same kills bring to light a coordinator that answers too soon, or counts again."""
    history = Nemesis(tmp_path, "lora", ROUNDS, EVERY_STEP, bug=bug).run(60.0)

    assert kinds & {problem.partition(":")[0] for problem in history.problems}


def test_an_acknowledged_update_that_is_not_there_is_lost(folder):
    """The journal must have it."""
    found = violations(folder, [Answer("ada", 1, "ACCEPTED", 200.0)])

    assert [problem.partition(":")[0] for problem in found] == ["lost"]


def test_an_update_written_after_its_acknowledgement_is_lost(folder):
    """That the client has sent it again, and it counts by now, is no excuse."""
    write(folder, UPDATE)

    found = violations(folder, [Answer("ada", 1, "ACCEPTED", 99.0)])

    assert [problem.partition(":")[0] for problem in found] == ["lost"]


def test_an_update_that_is_there_twice_is_found(folder):
    """The same bytes are journalled once."""
    write(folder, UPDATE, UPDATE)

    found = violations(folder, [])

    assert [problem.partition(":")[0] for problem in found] == ["twice"]


def test_what_counts_is_not_to_be_refused(folder):
    """Whoever hands in again hears that it counts."""
    write(folder, UPDATE)

    found = violations(folder, [Answer("ada", 1, "LATE", 200.0)])

    assert [problem.partition(":")[0] for problem in found] == ["refused"]


def test_what_came_too_late_may_be_called_late(folder):
    """It is in the journal, and in no round."""
    with Journal.writing(folder.journal_file) as journal:
        journal.append_many([ClientJoined(each, 10) for each in CLIENTS], 100.0)
        journal.append_many([RoundEvaluated(0), RoundPlanned(1, CLIENTS, 1, 10.0)], 100.0)
        journal.append_many([Ticked(), UPDATE], 150.0)

    found = violations(folder, [Answer("ada", 1, "LATE", 200.0)])

    assert [each for each in found if each.startswith("refused")] == []
