"""The quick decoder against the strict one."""

import json

import pytest
from tests.dashboard.large_journal import Fleet, happened

from antiphon.core.errors import RunFolderError
from antiphon.core.events import Evaluated, RoundPlanned, UpdateReceived, decode, encode
from antiphon.dashboard.quick_decode import decode_quickly

RECEIVED = UpdateReceived("a", 1, "d", 10, 5, 2, {"loss": 0.5})
PLANNED = RoundPlanned(1, ("a", "b"), 1, 60.0, "why", {"a": {"r": 8, "x": None, "y": "z"}})


def test_a_whole_run_is_decoded_alike():
    """Every event of a run is what `events.decode` gives."""
    rows = [encode(event) for event, _ in happened(Fleet(5, 3), ended=True)]

    assert [decode_quickly(*row) for row in rows] == [decode(*row) for row in rows]


@pytest.mark.parametrize(
    "event",
    [
        RECEIVED,
        UpdateReceived("a", 1, "d", 10, 5, 2, {"loss": float("nan")}),
        Evaluated(1, "a", 5, loss=float("inf")),
        Evaluated(1, "a", 5),
        PLANNED,
    ],
    ids=repr,
)
def test_an_event_comes_back_as_it_was(event):
    """Numbers that are not finite, nothing measured and plans with gaps go through."""
    assert repr(decode_quickly(*encode(event))) == repr(event)


def changed(event, **values):
    kind, body = encode(event)
    return kind, json.dumps({**json.loads(body), **values})


@pytest.mark.parametrize(
    "row",
    [
        changed(RECEIVED, round="1"),
        changed(RECEIVED, round=True),
        changed(RECEIVED, metrics={"loss": "low"}),
        changed(RECEIVED, later=1),
        changed(PLANNED, cohort=["a", 1]),
        changed(PLANNED, plan={"a": {"r": [8]}}),
        ("update_received", "{}"),
        ("update_received", "[]"),
        ("evaluated", "{"),
        ("of_a_newer_version", "{}"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_in_the_same_words(row):
    """An event of another form is refused as `events.decode` refuses it."""
    with pytest.raises(RunFolderError) as strict:
        decode(*row)

    with pytest.raises(RunFolderError) as quick:
        decode_quickly(*row)

    assert str(quick.value) == str(strict.value)


def test_whole_numbers_become_floats_where_floats_are_due():
    """A journal that holds 1 for a loss gives 1.0, as the strict decoder does."""
    row = changed(RECEIVED, metrics={"loss": 1})

    assert type(decode_quickly(*row).metrics["loss"]) is float
