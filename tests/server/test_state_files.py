"""A run whose newest state is damaged or lost: it is refused, and can go on from an earlier one."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from tests.server.seeds_run import CLIENTS, fold_round

from antiphon.core.errors import RunFolderError
from antiphon.core.events import (
    RoundEvaluated,
    RoundFolded,
    RoundUndone,
    RunRewound,
    RunStarted,
)
from antiphon.core.journal import Journal
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.server.folding.state_files import DamagedState, states_of
from antiphon.server.machine.actions import Finish
from antiphon.server.planning.agreement import claim_of
from antiphon.server.planning.resumed import check_same_space
from antiphon.server.report.report import build
from antiphon.server.run_end import end_run


def flipped(file):
    """Change one bit in the middle, as a disk does."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def other(file):
    """Put another whole state in its place, as somebody who mixes up two runs does."""
    state = from_bytes(file.read_bytes())
    file.write_bytes(to_bytes({name: value + np.ones_like(value) for name, value in state.items()}))


def torn(file):
    file.write_bytes(file.read_bytes()[:20])


def lost(file):
    file.unlink()


def journalled(federation, kind):
    with Journal.reading(federation.folder.journal_file) as journal:
        return [entry.event for entry in journal.read(kinds=[kind])]


def report_of(federation):
    with Journal.reading(federation.folder.journal_file) as journal:
        return build(journal.read())


def coefficients(state):
    return state["params/coefficients"].tolist()


@pytest.fixture
def two_rounds(federation):
    """Two rounds are folded, and the second is being measured; the state after the first."""
    fold_round(federation, 1)
    federation.submit(RoundEvaluated(1, {"loss": 1.5}))
    first = dict(federation.state)
    federation.submit(federation.plan(2, CLIENTS))
    fold_round(federation, 2)
    return federation, first


@pytest.mark.parametrize("harm", [flipped, other, torn, lost])
def test_a_damaged_state_is_refused(two_rounds, make, harm):
    """The message names the round, the file, what was wrong with it, and the way on."""
    federation, _ = two_rounds
    file = federation.folder.state_file(2)
    harm(file)

    with pytest.raises(DamagedState) as caught:
        make()

    said = str(caught.value)
    assert f"the state after round 2 is damaged: {file}" in said
    assert "--from-round 1 to --resume" in said


def test_both_digests_are_named(two_rounds, make):
    """Whoever looks for a copy of the file can tell whether it is the one."""
    federation, _ = two_rounds
    file = federation.folder.state_file(2)
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    flipped(file)
    got = hashlib.sha256(file.read_bytes()).hexdigest()

    with pytest.raises(DamagedState, match=f"SHA-256 {got}, the journal says {expected}"):
        make()


@pytest.mark.parametrize("harm", [flipped, torn, lost])
def test_a_run_goes_on_from_an_earlier_round(two_rounds, make, harm):
    """Its model is that of the round; the next round has a number of its own, and clients can deliver."""
    federation, first = two_rounds
    harm(federation.folder.state_file(2))

    again = make(1)
    again.start(min_clients=2)
    again.submit(again.plan(3, CLIENTS))
    model = coefficients(again.state)
    fold_round(again, 3)

    assert model == coefficients(first)
    assert coefficients(again.state) != model
    assert [(each.round, each.ending) for each in again.machine.outcomes] == [
        (1, "folded"),
        (2, "rewound"),
    ]


def test_a_run_goes_on_from_the_untouched_model(two_rounds, make):
    """That one is computed from the seed, and needs no file."""
    federation, _ = two_rounds
    for number in (0, 1, 2):
        lost(federation.folder.state_file(number))

    with pytest.raises(DamagedState, match="--from-round 0"):
        make()
    again = make(0)
    again.start(min_clients=2)

    assert coefficients(again.state) == [0.0] * len(again.state["params/coefficients"])


def test_what_it_went_back_to_is_journalled(two_rounds, make):
    """With what was damaged; another process, later, needs no flag."""
    federation, first = two_rounds
    lost(federation.folder.state_file(2))

    make(1).start(min_clients=2)
    again = make()

    (event,) = journalled(again, RunRewound)
    assert event.round == 1
    assert "state after round 2" in event.reason
    assert coefficients(again.state) == coefficients(first)


def test_the_report_tells_that_it_went_back(two_rounds, make):
    """The round does not count, the final scores are of the model that stands, and why is said."""
    federation, _ = two_rounds
    lost(federation.folder.state_file(2))

    again = make(1)
    again.start(min_clients=2)
    end_run(again, Finish(True, "enough"), {})

    report = report_of(again)
    assert [each["outcome"] for each in report["rounds"]] == ["folded", "rewound"]
    assert report["final"]["round"] == 1
    assert [each["what"] for each in report["problems"]] == ["rewound"]


def test_the_guard_compares_with_models_that_count(two_rounds, make):
    """The best loss of a round that does not count would make every later one look exploded."""
    federation, _ = two_rounds
    federation.submit(RoundEvaluated(2, {"loss": 0.01}))
    lost(federation.folder.state_file(2))

    again = make(1)
    again.start(min_clients=2)
    again.submit(again.plan(3, CLIENTS))
    fold_round(again, 3)

    assert again.undo_if_exploded(3, 1.4) is None


def test_a_state_that_the_guard_restored_is_compared_too(two_rounds, make):
    """The state of before the undo, which lies beside it, is not taken in its place."""
    federation, _ = two_rounds
    federation.submit(federation.undo_if_exploded(2, float("nan")))
    lost(federation.folder.undone_file(2))

    with pytest.raises(DamagedState, match=r"undone\.safetensors cannot be read"):
        make()


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_a_journal_of_before_has_no_digest_of_what_was_undone(two_rounds, digest):
    """Such a state is read as it is; one with a digest is compared."""
    federation, _ = two_rounds
    undone = federation.undo_if_exploded(2, float("nan"))
    federation.submit(replace(undone, digest=digest))
    states = states_of(federation.folder, dict)

    if digest:
        with pytest.raises(DamagedState, match=digest):
            states.read(2)
    else:
        assert coefficients(states.read(2)) == coefficients(federation.state)


def test_a_whole_run_does_not_go_back(two_rounds, make):
    """A flag that was left in a unit's command costs no rounds."""
    with pytest.raises(RunFolderError, match=r"after round 2 is whole\. Leave --from-round out"):
        make(1)


@pytest.mark.parametrize("number", [2, 3])
def test_only_an_earlier_whole_round_can_be_chosen(two_rounds, make, number):
    """The message lists those that can."""
    federation, _ = two_rounds
    lost(federation.folder.state_file(2))

    with pytest.raises(
        RunFolderError, match=r"these have left a whole state: 0, 1 \(0: the untouched"
    ):
        make(number)


def test_a_round_that_is_damaged_too_cannot_be_chosen(two_rounds, make):
    """What is offered is the newest one that is whole."""
    federation, _ = two_rounds
    flipped(federation.folder.state_file(1))
    lost(federation.folder.state_file(2))

    with pytest.raises(DamagedState, match="--from-round 0"):
        make()
    with pytest.raises(RunFolderError, match="a whole state: 0 "):
        make(1)


def test_rounds_are_in_the_journal_with_their_digests(two_rounds):
    """Of every state file, and of what the run trains."""
    federation, _ = two_rounds
    federation.submit(federation.undo_if_exploded(2, float("nan")))

    files = federation.folder
    (undone,) = journalled(federation, RoundUndone)
    told = [
        (files.state_file(each.round), each.digest) for each in journalled(federation, RoundFolded)
    ]
    for file, digest in [*told, (files.undone_file(2), undone.digest)]:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    (started,) = journalled(federation, RunStarted)
    assert started.space == claim_of(federation.space)


def test_another_space_is_refused(federation, make):
    """Neither other shapes nor another base model can go on with the run."""
    (started,) = journalled(federation, RunStarted)
    space = replace(federation.space, model_parameters=25)

    with pytest.raises(RunFolderError, match=started.space):
        make(space=space)


def test_a_journal_of_before_goes_on_with_any_space(federation):
    """It holds no hash to compare with."""
    (started,) = journalled(federation, RunStarted)

    check_same_space(replace(started, space=""), federation.space, federation.folder)
