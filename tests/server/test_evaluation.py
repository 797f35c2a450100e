"""Who is waited for while a model is measured."""

from __future__ import annotations

from antiphon.core.events import Evaluated
from antiphon.server.folding.evaluation import Evaluation


def evaluation(*clients: str, done: tuple[Evaluated, ...] = ()) -> Evaluation:
    return Evaluation(3, clients, began=0.0, deadline=9.0, done=done)


def by(client: str, number: int = 3, loss: float = 2.0) -> Evaluated:
    return Evaluated(number, client, 20, loss=loss)


def test_each_client_is_taken_once():
    """The second measurement of a client changes nothing."""
    open_ = evaluation("north", "south")

    taken = [open_.take(by("north")), open_.take(by("north", loss=9.0))]

    assert taken == [True, False]
    assert open_.waiting == {"south"}
    assert open_.measured == [by("north")]


def test_strangers_and_other_rounds_are_not_taken():
    """Only who was asked, and only of the model that is asked about."""
    open_ = evaluation("north")

    taken = [open_.take(by("stranger")), open_.take(by("north", number=2))]

    assert taken == [False, False]
    assert open_.waiting == {"north"}


def test_what_was_measured_before_a_crash_is_kept():
    """A client whose measurement is in the journal is not asked again."""
    open_ = evaluation("north", "south", done=(by("north"),))

    open_.take(by("south"))

    assert open_.waiting == set()
    assert open_.measured == [by("north"), by("south")]


def test_measurements_come_in_the_order_of_names():
    """Their mean must not depend on who was faster."""
    open_ = evaluation("south", "east", "north")

    for name in ("south", "north", "east"):
        open_.take(by(name))

    assert [each.client for each in open_.measured] == ["east", "north", "south"]
