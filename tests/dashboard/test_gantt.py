"""Who did what in a round."""

from antiphon.core import events
from antiphon.core.journal import Entry
from antiphon.dashboard.gantt import Frame, Members, Span, spans_of

PLANNED_AT = 100.0


def received(client, number=1):
    return events.UpdateReceived(client, number, "d", 1, 1, 1)


def spans(*happened, clients="ab", closed_at=None, now=160.0, **members):
    """Return the spans of a round with these (seconds after the plan, event)."""
    entries = [
        Entry(seq, PLANNED_AT + at, event) for seq, (at, event) in enumerate(happened, start=1)
    ]
    known = {
        "base": dict.fromkeys(clients, 1),
        "began_at": dict.fromkeys(clients, PLANNED_AT),
        "status": dict.fromkeys(clients, "assigned"),
    } | members
    return spans_of(entries, Members(**known), Frame(PLANNED_AT, closed_at), now)


def test_an_update_ends_the_work():
    """A client works from the plan to its update; another one works until now."""
    assert spans((20, received("a"))) == (
        Span("b", 0.0, 60.0, "working"),
        Span("a", 0.0, 20.0, "accepted"),
    )


def test_the_model_is_marked():
    """When a client has the model is known from the bytes that went down."""
    down = events.BytesMoved(1, "a", "down", "model", 9)

    assert spans((5, down), (20, received("a")), clients="a")[0].model_s == 5.0


def test_control_bytes_are_no_model():
    """Messages of the protocol, which are journalled before the update, do not move the mark."""
    happened = [(5, "model"), (19, "control")]
    down = [(at, events.BytesMoved(1, "a", "down", purpose, 9)) for at, purpose in happened]

    assert spans(*down, (20, received("a")), clients="a")[0].model_s == 5.0


def test_a_simulation_tells_nothing_about_the_model():
    """Where all bytes are noted at the end, there is no mark."""
    down = events.BytesMoved(1, "a", "down", "model", 9)

    assert spans((20, down), (20, received("a")), clients="a")[0].model_s is None


def test_failures_say_why():
    """What failed, was rejected or left ends with its reason."""
    found = spans(
        (1, events.ClientFailed("a", 1, "no memory")),
        (2, events.UpdateRejected("b", 1, "NaN")),
        (3, events.ClientLeft("c", "asleep")),
        clients="abc",
    )

    ends = [(each.client, each.ending, each.reason, each.end_s) for each in found]
    assert ends == [
        ("c", "left", "asleep", 3.0),
        ("b", "rejected", "NaN", 2.0),
        ("a", "failed", "no memory", 1.0),
    ]


def test_a_client_that_comes_back_has_two_spans():
    """Work that is taken up again begins when the client is back."""
    found = spans(
        (5, events.ClientLeft("a")),
        (9, events.ClientJoined("a", 1)),
        (20, received("a")),
        clients="a",
    )

    assert found == (Span("a", 9.0, 20.0, "accepted"), Span("a", 0.0, 5.0, "left"))


def test_what_is_unfinished_at_the_close_is_cut_off():
    """After the round closed nobody works on it any more; what comes then is late."""
    found = spans((50, received("a")), closed_at=PLANNED_AT + 40)

    assert [(each.client, each.ending, each.end_s) for each in found] == [
        ("a", "late", 50.0),
        ("b", "cut off", 40.0),
    ]


def test_stragglers_are_marked():
    """Who takes longer than 1.5 times the median of the accepted is slow, working or not."""
    happened = [(at, received(client)) for at, client in ((10, "a"), (12, "b"), (40, "c"))]

    slow = {each.client for each in spans(*happened, clients="abcd") if each.slow}

    assert slow == {"c", "d"}


def test_two_updates_are_not_enough_for_stragglers_to_be_told():
    """One accepted update is no measure."""
    assert not any(each.slow for each in spans((1, received("a"))))


def test_events_of_other_rounds_are_not_of_this_one():
    """A late update of an earlier round ends no span."""
    assert spans((20, received("a", number=0)), clients="a")[0].ending == "working"


def test_an_asynchronous_round_takes_over_what_began_before():
    """A member that began in the round before has a span from then, and its update is of that round."""
    found = spans(
        (20, received("a", number=0)),
        clients="a",
        base={"a": 0},
        began_at={"a": PLANNED_AT - 30},
    )

    assert found == (Span("a", -30.0, 20.0, "accepted"),)


def test_an_asynchronous_round_leaves_work_to_the_next_one():
    """What is unfinished when it closes is carried on, and what comes then counts in the next round."""
    members = Members(
        {"a": 1, "b": 1}, {"a": 100.0, "b": 100.0}, {"a": "assigned", "b": "assigned"}
    )
    entries = [Entry(1, 110.0, received("a")), Entry(2, 130.0, received("b"))]

    found = spans_of(entries, members, Frame(100.0, 120.0, carries_on=True), 160.0)

    assert [(each.client, each.ending) for each in found] == [
        ("b", "carried on"),
        ("a", "accepted"),
    ]
