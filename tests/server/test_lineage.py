"""Which rounds' models stand."""

from antiphon.server.machine.lineage import Lineage


def test_an_undo_takes_the_newest_fold_back_and_no_other():
    """A second undo without a fold between them changes nothing."""
    lineage = Lineage().folded(1).folded(2).undid(2)

    assert (lineage.now.model, lineage.undone) == (1, {2})
    assert lineage.undid(3).undone == {2}


def test_going_back_makes_the_models_after_it_void():
    """The model is that of the round, and what the guard could take back then it can again."""
    lineage = Lineage().folded(1).folded(2).folded(3).went_back(2)

    assert (lineage.now.model, lineage.undone) == (2, {3})
    assert lineage.undid(4).undone == {2, 3}


def test_a_model_that_was_taken_back_later_stands_again():
    """The undoing is of the rounds that do not count."""
    lineage = Lineage().folded(1).folded(2).undid(3).went_back(2)

    assert (lineage.now.model, lineage.undone) == (2, {3})


def test_what_was_void_stays_void():
    """A run may go back twice."""
    lineage = Lineage().folded(1).folded(2).went_back(1).folded(3).went_back(1)

    assert lineage.undone == {2, 3}


def test_going_back_to_the_untouched_model():
    """Nothing stands then, and nothing can be taken back."""
    lineage = Lineage().folded(1).went_back(0)

    assert (lineage.now.model, lineage.now.before, lineage.undone) == (0, None, {1})
