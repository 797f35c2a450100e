"""A run's view, against the report of the same journal."""

import pytest
from tests.dashboard.conftest import journal_of
from tests.dashboard.large_journal import Fleet, write

from antiphon.core.events import (
    BytesMoved,
    ClientJoined,
    Evaluated,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunDescribed,
    RunStarted,
    UpdateReceived,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.learning import client_curves, spreads
from antiphon.dashboard.shelf import Shelf, spans
from antiphon.server.report.chronicle import Chronicle
from antiphon.server.report.report import build


@pytest.fixture
def folder(recorded_runs):
    return RunFolder(recorded_runs / "complete")


@pytest.fixture
def view(folder):
    return Shelf().view(folder)


@pytest.fixture
def report(folder):
    with Journal.reading(folder.journal_file) as journal:
        return build(journal.read())


def test_the_rounds_are_those_of_the_report(view, report):
    """Updates, bytes and outcomes of each round are as in report.json."""
    shown = [
        (number, each.outcome, each.accepted, each.rejected, each.sums.up, each.sums.down)
        for number, each in view.rounds.items()
    ]

    assert shown == [
        (
            each["round"],
            each["outcome"],
            len(each["accepted"]),
            len(each["rejected"]),
            each["bytes_up"],
            each["bytes_down"],
        )
        for each in report["rounds"]
    ]


def test_the_scores_are_those_of_the_report(view, report):
    """Loss and accuracy after each round are the report's means."""
    rounds = [report["initial"], *report["rounds"]]

    for curve in view.means:
        assert curve.values == pytest.approx([each[curve.measure] for each in rounds])


def test_the_saving_is_that_of_the_report(view, report):
    """The bytes of the run, and those of dense float32, are the report's."""
    told = report["bytes"]

    assert (view.sums.up, view.sums.down, view.sums.training, view.sums.dense) == (
        told["up"],
        told["down"],
        told["training"],
        told["dense_float32"],
    )


def test_bytes_are_added_up_by_client(view, report):
    """The fleet's table shows the bytes of each client that the report tells."""
    told = report["bytes"]["by_client"]

    assert view.by_client == {
        (name, direction): size for name, moved in told.items() for direction, size in moved.items()
    }


def test_nothing_is_saved_without_an_accepted_update(tmp_path):
    """A round that is open, or has failed, claims no saving: nobody has delivered."""
    moved = BytesMoved(1, "a", "down", "model", 100)
    opening = [RunStarted("a", "0", 1, 1, 3), ClientJoined("a", 1), ClientJoined("b", 1)]
    facts = RunDescribed({"trained_parameters": 1000})
    folder = journal_of(
        tmp_path, [*opening, facts, RoundEvaluated(0), RoundPlanned(1, ("a",), 1, 60.0), moved]
    )

    view = Shelf().view(folder)

    assert (view.sums.training, view.sums.dense) == (100, None)
    assert view.rounds[1].sums.dense is None


def test_evaluation_is_no_training(tmp_path):
    """A model that is fetched between two rounds counts as training for those who then train from it."""
    moved = [BytesMoved(0, each, "down", "model", 100) for each in "ab"]
    opening = [RunStarted("a", "0", 1, 1, 3), ClientJoined("a", 1), ClientJoined("b", 1), *moved]
    folder = journal_of(tmp_path, [*opening, RoundEvaluated(0), RoundPlanned(1, ("a",), 1, 60.0)])
    sums = Shelf().view(folder).sums

    assert (sums.all, sums.training) == (200, 100)


def test_the_clients_are_those_that_joined(view, report):
    """Each client is there with its examples and what its machine said of itself."""
    assert {each.name: each.examples for each in view.clients} == report["train_examples"]
    assert view.clients[0].device == "NVIDIA A10"
    assert view.clients[0].memory_bytes == 24_000_000_000


def test_a_round_has_a_span_for_each_member(view, folder):
    """The round's chart shows every member of the cohort."""
    drawn = spans(folder, view, 1, now=0.0)

    assert {each.client for each in drawn} == set(view.rounds[1].planned.cohort)
    assert {each.ending for each in drawn} <= {"accepted", "failed", "rejected"}


def test_reading_in_steps_gives_the_same_view(tmp_path):
    """A journal that grows while it is shown gives the view of one that is read at once."""
    whole = tmp_path / "whole" / "journal.sqlite"
    write(whole, Fleet(3, 2))
    with Journal.reading(whole) as journal:
        entries = list(journal.read())
    shelf, grown = Shelf(), RunFolder(tmp_path / "grown")
    for entry in entries:
        journal_of(grown.path, [entry.event], entry.at_s)
        if entry.seq % 10 == 0:
            shelf.view(grown)

    assert shelf.view(grown) == Shelf().view(RunFolder(whole.parent))


def test_a_view_is_kept_until_the_journal_grows(folder):
    """Looking again costs nothing: the very same view is given."""
    shelf = Shelf()

    assert shelf.view(folder) is shelf.view(folder)


def test_a_folder_made_anew_is_read_anew(tmp_path):
    """A run that was removed and begun again under its name shows the new one only."""
    shelf, folder = Shelf(), journal_of(tmp_path / "a", [RunStarted("old", "0", 9, 1, 3)])
    shelf.view(folder)
    folder.journal_file.unlink()  # the new file may get its number, as it does on ext4
    journal_of(tmp_path / "a", [RunStarted("new", "0", 2, 1, 3), ClientJoined("a", 1)])

    assert shelf.view(folder).run_id == "new"


def test_a_run_without_bytes_says_so(tmp_path):
    """What no event tells is not known, and not zero."""
    happened = [RunStarted("a", "0", 1, 1, 3), ClientJoined("a", 1)]
    folder = journal_of(tmp_path, [*happened, RoundEvaluated(0), RoundPlanned(1, ("a",), 1, 60.0)])

    view = Shelf().view(folder)

    assert view.sums.all is None
    assert view.sums.dense is None


def test_many_clients_are_shown_as_a_spread(tmp_path):
    """Beyond two dozen clients the middle 80 % are drawn, and single clients on demand."""
    write(tmp_path / "journal.sqlite", Fleet(30, 2))
    shelf = Shelf()
    view = shelf.view(RunFolder(tmp_path))

    assert view.curves == ()
    assert all(
        low < high for each in view.spreads for low, high in zip(each.low, each.high, strict=True)
    )
    loss, _ = shelf.curves(RunFolder(tmp_path), ["site-003"])
    assert (loss.client, loss.rounds) == ("site-003", (0, 1, 2))


def test_means_over_other_clients_are_known(tmp_path):
    """A headline that compares start and end has to know that they are of different clients."""
    opening = [RunStarted("a", "0", 1, 1, 3), ClientJoined("a", 1), ClientJoined("b", 1)]
    first = [Evaluated(0, each, 1, loss=1.0) for each in "ab"]
    second = [RoundPlanned(1, ("a",), 1, 60.0), UpdateReceived("a", 1, "d", 1, 1, 1)]
    second += [RoundFolded(1, ""), Evaluated(1, "a", 1, loss=0.5), RoundEvaluated(1, {"loss": 0.5})]
    folder = journal_of(tmp_path, [*opening, *first, RoundEvaluated(0, {"loss": 1.0})])
    shelf = Shelf()

    assert shelf.view(folder).same_clients
    journal_of(tmp_path, second)
    assert not shelf.view(folder).same_clients


def test_nothing_measured_gives_no_curve():
    """An empty run has no curve and no spread."""
    assert client_curves(Chronicle(), ["a"])[0].values == ()
    assert spreads(Chronicle())[0].rounds == ()
