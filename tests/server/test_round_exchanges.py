"""A round of several exchanges in the round machine: each opens for those who answered the last one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.server.phases import PLANNING, actions, after, plan, update, verdict

from antiphon.core.errors import ProtocolError
from antiphon.core.events import (
    MEASURING,
    TRAINING,
    AnswerReceived,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    ExchangeCombined,
    RoundFolded,
    RunResumed,
    RunStopped,
    Ticked,
    UpdateRejected,
)
from antiphon.core.types import Plain
from antiphon.server.machine.actions import (
    Assign,
    CancelAssignment,
    Combine,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.machine.bench import is_benched
from antiphon.server.machine.round import next_deadline, pending_actions
from antiphon.server.machine.run_state import RunState, having, is_assigned, may_deliver
from antiphon.server.machine.waiting import why_waiting

ROW: dict[str, Plain] = {"fewest": 2, "deadline_s": 20.0}
LIST: dict[str, dict[str, Plain]] = {
    "keys": ROW,
    TRAINING: {},
    "unmask": ROW,
    MEASURING: {"deadline_s": 9.0},
}
PLAN = replace(plan(), exchanges=LIST)
COMBINED = ExchangeCombined(1, "keys", "d")


def answer(
    client: str, exchange: str = "keys", number: int = 1, digest: str = ""
) -> AnswerReceived:
    return AnswerReceived(client, number, exchange, digest or f"{client}{exchange}", 9)


def ask(client: str, exchange: str, deadline: float) -> Assign:
    return Assign(client, 1, deadline, exchange)


KEYS = after(PLAN, state=PLANNING)
COMBINING = after(*map(answer, "abc"), state=KEYS)
TRAIN = after(COMBINED, state=COMBINING, now=5.0)
UNMASK = after(*map(update, "abc"), state=TRAIN, now=10.0)
LAST = after(*(answer(each, "unmask") for each in "abc"), state=UNMASK, now=10.0)


def test_the_first_exchange_of_the_list_is_asked_first() -> None:
    """Its own deadline runs, and its own number of answers is needed."""
    assert actions(PLANNING, PLAN, now=1.0) == tuple(ask(each, "keys", 21.0) for each in "abc")
    assert (KEYS.exchange, KEYS.quorum, next_deadline(KEYS)) == ("keys", 2, 20.0)


def test_when_all_have_answered_the_answers_are_combined() -> None:
    """The clients come sorted, and their receipts name the exchange."""
    state = after(answer("c"), answer("a"), state=KEYS)

    assert actions(state, answer("b")) == (
        Reply(*("b", 1, "accepted", ""), "keys"),
        Combine(1, "keys", ("a", "b", "c")),
    )


def test_the_next_exchange_opens_when_the_answers_are_combined() -> None:
    """Training follows with the plan's quorum and deadline, counted from now."""
    assert actions(COMBINING, COMBINED, now=5.0) == tuple(ask(e, TRAINING, 65.0) for e in "abc")
    assert TRAIN.quorum == 2


def test_after_training_the_list_goes_on() -> None:
    """What follows training is asked of those whose updates have come."""
    state = after(update("a"), update("b"), state=TRAIN, now=10.0)

    asked = actions(state, update("c"), now=10.0)[1:]

    assert asked == tuple(ask(each, "unmask", 30.0) for each in "abc")


def test_the_round_is_folded_after_the_last_exchange() -> None:
    """With all whose updates have come, though one of them has missed the last exchange."""
    state = after(answer("a", "unmask"), answer("b", "unmask"), state=UNMASK, now=11.0)
    state = after(Ticked(), state=state, now=30.0)

    assert state.phase == "combining"
    assert actions(state, ExchangeCombined(1, "unmask", "d")) == (Fold(1, ("a", "b", "c")),)


def test_measuring_follows_the_fold() -> None:
    """It is an exchange of the list as the others are, and needs nobody."""
    state = after(ExchangeCombined(1, "unmask", "d"), state=LAST, now=12.0)

    asked = actions(state, RoundFolded(1, "d"), now=13.0)

    assert asked == tuple(ask(each, MEASURING, 22.0) for each in "abc")


def missed_keys(*how: object) -> RunState:
    state = after(answer("a"), answer("b"), *how, state=KEYS)  # type: ignore[arg-type]
    return after(Ticked(), COMBINED, state=state, now=20.0)


@pytest.mark.parametrize(
    "how", [[], [ClientFailed("c", 1, "x", "keys")], [ClientLeft("c"), ClientJoined("c", 1)]]
)
def test_who_misses_one_is_out_of_the_later_ones(how: list[object]) -> None:
    """Neither an update of it nor its coming back changes that; it is not assigned again."""
    state = missed_keys(*how)

    assert having(state, "assigned") == ("a", "b")
    assert having(state, "missed") == ("c",)
    assert verdict(state, update("c"), 21.0) == "rejected"
    assert actions(after(ClientLeft("c"), state=state), ClientJoined("c", 1), 21.0) == ()
    assert not may_deliver(state, "c", 1)


def test_who_has_missed_one_may_take_part_in_the_next_round() -> None:
    """To miss an exchange is no failure of its own."""
    state = after(update("a"), update("b"), state=missed_keys(), now=21.0)
    state = after(*(answer(each, "unmask") for each in "ab"), state=state, now=21.0)
    state = after(ExchangeCombined(1, "unmask", "d"), RoundFolded(1, "d"), state=state, now=21.0)

    assert not is_benched(state.benches, "c", 2)
    assert state.cohort["c"].status == "missed"


def test_whoever_is_at_work_at_the_deadline_is_called_off() -> None:
    """The word names the exchange."""
    state = after(answer("a"), answer("b"), state=KEYS)

    cancelled, combine = actions(state, Ticked(), now=20.0)

    assert cancelled == CancelAssignment("c", 1, exchange="keys")
    assert combine == Combine(1, "keys", ("a", "b"))


def test_too_few_answers_fail_the_round() -> None:
    """As too few updates do: the model stays, and the reason says of what there were too few."""
    state = after(answer("a"), Ticked(), state=after(answer("a"), state=KEYS), now=20.0)

    assert state.outcomes[-1].ending == "failed"
    assert "1 of 3 answers to the exchange keys, quorum 2" in state.outcomes[-1].reason
    assert (state.exchange, state.answers) == (TRAINING, {})


def test_too_few_who_go_on_fail_the_round() -> None:
    """Training needs more than have answered before: there is nothing to wait for."""
    state = after(*map(answer, "ab"), state=after(replace(PLAN, quorum=3), state=PLANNING))
    state = after(Ticked(), COMBINED, state=state, now=20.0)

    assert state.outcomes[-1].reason.startswith("the quorum is out of reach")


def test_the_same_answer_counts_once() -> None:
    """Also when its exchange has closed: the client's acknowledgement was lost."""
    assert verdict(after(answer("a"), state=KEYS), answer("a")) == "duplicate"
    assert verdict(TRAIN, answer("a"), 6.0) == "duplicate"


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (KEYS, answer("stranger"), "unknown"),
        (KEYS, answer("a", "nothing"), "rejected"),
        (KEYS, answer("a", TRAINING), "rejected"),
        (KEYS, answer("a", "unmask"), "rejected"),
        (KEYS, answer("a", number=2), "rejected"),
        (KEYS, update("a"), "rejected"),
        (after(answer("a"), state=KEYS), answer("a", digest="other"), "rejected"),
        (TRAIN, answer("a", digest="other"), "late"),
        (COMBINING, answer("a", digest="other"), "late"),
        (UNMASK, update("a", digest="other"), "late"),
        (PLANNING, answer("a", number=0), "rejected"),
    ],
)
def test_what_is_out_of_turn_does_not_count(
    state: RunState, event: AnswerReceived, expected: str
) -> None:
    """An answer counts once, from who was asked, while its exchange is open."""
    assert verdict(state, event, 6.0) == expected


def test_an_answer_of_a_round_that_is_over_is_late() -> None:
    """Its number is used up."""
    failed = after(Ticked(), state=KEYS, now=20.0)

    assert verdict(failed, answer("a"), 21.0) == "late"


def test_a_refused_answer_benches_its_client() -> None:
    """As a refused update does; the receipt names the exchange."""
    refused = UpdateRejected("c", 1, "no number", "keys")

    assert actions(KEYS, refused) == (Reply("c", 1, "rejected", "no number", "keys"),)
    state = after(refused, state=KEYS)
    assert is_benched(state.benches, "c", 2)
    assert state.cohort["c"].status == "rejected"


def test_a_failure_in_another_exchange_is_passed_over() -> None:
    """It is of a task that is over."""
    assert after(ClientFailed("c", 1, "x"), state=KEYS) == KEYS


def test_who_left_is_asked_again_in_the_exchange_that_is_open() -> None:
    """It has answered the one before: it may go on where the others are."""
    state = after(ClientLeft("c"), state=TRAIN, now=6.0)

    assert actions(state, ClientJoined("c", 1), now=7.0) == (ask("c", TRAINING, 65.0),)


def test_who_is_revoked_while_answers_are_combined_takes_no_further_part() -> None:
    """It is not asked any more."""
    state = after(ClientRevoked("c"), COMBINED, state=COMBINING, now=5.0)

    assert having(state, "assigned") == ("a", "b")
    assert state.cohort["c"].status == "rejected"


def test_an_update_of_who_is_revoked_before_the_fold_does_not_count() -> None:
    """Though it had been accepted in an earlier exchange."""
    state = after(ClientRevoked("c"), ExchangeCombined(1, "unmask", "d"), state=LAST, now=12.0)

    assert pending_actions(state) == (Fold(1, ("a", "b")),)


def test_too_few_updates_after_a_revocation_fail_the_round() -> None:
    """The quorum is of updates that count."""
    revoked = [ClientRevoked(each) for each in "bc"]
    state = after(*revoked, ExchangeCombined(1, "unmask", "d"), state=LAST, now=12.0)

    assert state.outcomes[-1].reason == "clients were revoked: 1 updates are left, quorum 2"


def test_a_crash_loses_no_exchange() -> None:
    """A resume combines again, or asks whoever has not answered, with the whole time."""
    half = after(answer("a"), state=KEYS)

    assert actions(COMBINING, RunResumed(), now=99.0) == (Combine(1, "keys", ("a", "b", "c")),)
    assert actions(half, RunResumed(), now=99.0) == (
        ask("b", "keys", 119.0),
        ask("c", "keys", 119.0),
    )


def test_a_stop_calls_everybody_off() -> None:
    """The round has ended in the middle of its list."""
    ended = actions(TRAIN, RunStopped("enough"), now=6.0)

    assert ended[:3] == tuple(CancelAssignment(each, 1) for each in "abc")
    assert isinstance(ended[3], Finish)
    assert after(RunStopped("enough"), state=COMBINING).outcomes[-1].ending == "stopped"


def test_an_asynchronous_round_has_one_exchange() -> None:
    """Who goes on from round to round could not be asked in turn."""
    with pytest.raises(ProtocolError, match="has one exchange"):
        after(replace(PLAN, max_staleness=2), state=PLANNING)


@pytest.mark.parametrize("state", [KEYS, TRAIN, PLANNING])
def test_nothing_is_combined_out_of_place(state: RunState) -> None:
    """Nor under another exchange's name."""
    with pytest.raises(ProtocolError, match="got"):
        after(COMBINED, state=state)
    with pytest.raises(ProtocolError, match="that is combined is keys"):
        after(ExchangeCombined(1, "unmask", "d"), state=COMBINING)


def test_who_is_asked_for_what() -> None:
    """An engine asks by the exchange's name."""
    assert is_assigned(KEYS, "a", 1, "keys")
    assert not is_assigned(KEYS, "a", 1)
    assert is_assigned(TRAIN, "a", 1)
    assert may_deliver(TRAIN, "a", 1)
    assert not may_deliver(KEYS, "a", 1)


def test_what_it_waits_for_in_words() -> None:
    """The sentences name the exchange."""
    assert why_waiting(after(answer("a"), state=KEYS), 5.0) == (
        "round 1: waiting for 2 of 3 answers to the exchange keys (b, c), quorum 2, deadline in 15 s"
    )
    assert why_waiting(COMBINING, 5.0) == "round 1: combining 3 answers to the exchange keys"
    assert why_waiting(missed_keys(), 20.0).startswith("round 1: waiting for 2 of 2 updates (a, b)")


def test_the_next_round_begins_with_its_first_exchange() -> None:
    """Nothing of a round is left in the next one."""
    failed = after(*map(answer, "a"), Ticked(), state=KEYS, now=20.0)

    assert pending_actions(failed) == (PlanRound(2, ("a", "b", "c")),)
    state = after(replace(PLAN, round=2), state=failed, now=40.0)
    assert (state.exchange, state.answers) == ("keys", {})
