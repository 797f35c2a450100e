"""Events and their JSON."""

import dataclasses
import json
import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import RunFolderError
from antiphon.core.event_json import decode, encode, kind_of
from antiphon.core.events import (
    AnswerReceived,
    BytesMoved,
    ClientDeclined,
    ClientDescribed,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    Evaluated,
    Event,
    ExchangeCombined,
    PhaseTimed,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunDescribed,
    RunEnded,
    RunResumed,
    RunRewound,
    RunStarted,
    RunStopped,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)

names = st.text(max_size=8)
numbers = st.floats(allow_nan=False)
by_name = st.dictionaries(names, numbers, max_size=3)
counts = st.integers(0, 2**60)
plain = st.none() | st.booleans() | counts | numbers | names
measured = st.none() | numbers
rows = st.dictionaries(st.text("ab", max_size=3), plain, max_size=3)
plans = st.dictionaries(names, rows)
cohorts = st.lists(names, max_size=3).map(tuple)

EVENTS = {
    RunStarted: st.builds(RunStarted, names, names, counts, counts, counts, counts, names, rows),
    ClientJoined: st.builds(ClientJoined, names, counts),
    ClientLeft: st.builds(ClientLeft, names, names),
    ClientRevoked: st.builds(ClientRevoked, names),
    ClientDeclined: st.builds(ClientDeclined, names, st.lists(names).map(tuple), names),
    RoundPlanned: st.builds(
        RoundPlanned, counts, cohorts, counts, numbers, names, plans, exchanges=plans
    ),
    UpdateReceived: st.builds(
        UpdateReceived, names, counts, names, counts, counts, counts, by_name
    ),
    UpdateRejected: st.builds(UpdateRejected, names, counts, names, names),
    AnswerReceived: st.builds(AnswerReceived, names, counts, names, names, counts),
    ExchangeCombined: st.builds(ExchangeCombined, counts, names, names),
    ClientFailed: st.builds(ClientFailed, names, counts, names, names),
    Ticked: st.builds(Ticked),
    RoundFolded: st.builds(RoundFolded, counts, names, by_name),
    RoundUndone: st.builds(RoundUndone, counts, names, names),
    RoundEvaluated: st.builds(RoundEvaluated, counts, by_name),
    RunResumed: st.builds(RunResumed, measuring=rows),
    RunRewound: st.builds(RunRewound, counts, names),
    RunStopped: st.builds(RunStopped, names, st.booleans()),
    Evaluated: st.builds(Evaluated, counts, names, counts, measured, measured, measured, measured),
    BytesMoved: st.builds(
        BytesMoved, counts, names, st.sampled_from(["up", "down"]), names, counts
    ),
    PhaseTimed: st.builds(PhaseTimed, counts, names, numbers),
    ClientDescribed: st.builds(
        ClientDescribed, names, st.dictionaries(st.text("ab", max_size=3), plain)
    ),
    RunDescribed: st.builds(RunDescribed, st.dictionaries(st.text("ab", max_size=3), plain)),
    RunEnded: st.builds(RunEnded, st.booleans(), names),
}


@given(st.one_of(*EVENTS.values()))
def test_round_trip(event: Event) -> None:
    """Every event, of any text and any number, comes back equal from its JSON."""
    assert decode(*encode(event)) == event


def test_every_kind_is_tested() -> None:
    """The round trip above covers every event that there is."""
    assert set(EVENTS) == set(get_args(Event))


def test_kinds_are_fixed() -> None:
    """Old journals name these kinds: renaming a class would make them unreadable."""
    kinds = {kind_of(each) for each in get_args(Event)}

    assert kinds == {
        *("run_started", "run_resumed", "run_rewound", "run_stopped", "run_ended", "ticked"),
        *("client_joined", "client_left", "client_failed", "client_declined", "client_revoked"),
        *("update_received", "update_rejected", "answer_received", "exchange_combined"),
        *("round_planned", "round_folded", "round_undone", "round_evaluated"),
        *("evaluated", "bytes_moved", "phase_timed", "run_described", "client_described"),
    }


def test_journal_form() -> None:
    """The JSON of an event is an object of its fields under their own names."""
    kind, body = encode(ClientJoined("north", 400))

    assert (kind, json.loads(body)) == ("client_joined", {"client": "north", "examples": 400})


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_survive(value: float) -> None:
    """An infinite number comes back as it was, in a field and in a plan, from valid JSON."""
    event = RoundPlanned(1, ("a",), 1, value, plan={"a": {"budget": value}})

    kind, body = encode(event)

    assert decode(kind, body) == event
    assert "Infinity" not in body


def test_nan_survives() -> None:
    """A NaN is a measurement, so it comes back as NaN and not as None."""
    read = decode(*encode(Evaluated(1, "north", 10, loss=math.nan)))

    assert isinstance(read, Evaluated)
    assert read.loss is not None
    assert math.isnan(read.loss)
    assert read.accuracy is None


def test_numpy_numbers_are_written() -> None:
    """Metrics may be numpy's numbers: they are written as what they hold."""
    event = RoundFolded(1, "d", {"norm": np.float32(0.5), "count": np.int64(3)})  # type: ignore[dict-item]

    assert decode(*encode(event)) == RoundFolded(1, "d", {"norm": 0.5, "count": 3.0})


def test_unknown_kind_is_refused() -> None:
    """A kind of a newer version is refused, with the advice to upgrade."""
    with pytest.raises(RunFolderError, match=r"'moon_landed'.*upgrade Antiphon"):
        decode("moon_landed", "{}")


def test_whole_numbers_become_floats_where_floats_are_due() -> None:
    """A journal that holds 1 for a loss gives 1.0, in a field and among metrics."""
    loss = decode("evaluated", '{"round":1,"client":"a","examples":1,"loss":1}')
    folded = decode("round_folded", '{"round":1,"digest":"d","report":{"norm":1,"error":0.5}}')

    assert isinstance(loss, Evaluated)
    assert type(loss.loss) is float
    assert isinstance(folded, RoundFolded)
    assert {type(each) for each in folded.report.values()} == {float}


def test_unknown_field_is_refused() -> None:
    """A field of a newer version is refused rather than dropped in silence."""
    with pytest.raises(RunFolderError, match=r"client_left.*mood.*upgrade Antiphon"):
        decode("client_left", '{"client": "north", "mood": "bad"}')


def test_missing_field_is_refused() -> None:
    """An event without a field that it needs is damaged, and the field is named."""
    with pytest.raises(RunFolderError, match="client_joined lacks examples"):
        decode("client_joined", '{"client": "north"}')


def test_field_with_default_may_lack() -> None:
    """A field that has a default may be absent, so an older journal stays readable."""
    assert decode("client_left", '{"client": "north"}') == ClientLeft("north")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("client_joined", '{"client": "north", "examples": "many"}'),
        ("client_joined", '{"client": "north", "examples": true}'),
        ("client_joined", '{"client": null, "examples": 1}'),
        ("round_folded", '{"round": 1, "digest": "d", "report": {"norm": "big"}}'),
        ("round_folded", '{"round": 1.5, "digest": "d"}'),
        ("round_planned", '{"round": 1, "cohort": "abc", "quorum": 1, "deadline_s": 1}'),
        (
            "round_planned",
            '{"round":1,"cohort":[],"quorum":1,"deadline_s":1,"plan":{"a":{"b":[]}}}',
        ),
        ("bytes_moved", '{"round":1,"client":"a","direction":"left","purpose":"","bytes":1}'),
        ("evaluated", '{"round": 1, "client": "a", "examples": 1, "loss": "low"}'),
        ("ticked", "[]"),
        ("ticked", "{"),
    ],
)
def test_damaged_values_are_refused(kind: str, body: str) -> None:
    """A value of another type, or no JSON object at all, is said to be damage."""
    with pytest.raises(RunFolderError, match=f"damaged: {kind}"):
        decode(kind, body)


def test_unwritable_value_is_our_defect() -> None:
    """A value that JSON cannot hold is a defect of the writer, and is said at once."""
    event = dataclasses.replace(RunResumed())
    with pytest.raises(TypeError, match="cannot hold object"):
        encode(RoundFolded(1, "d", {"norm": object()}))  # type: ignore[dict-item]

    assert decode(*encode(event)) == event
