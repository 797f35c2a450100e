"""Telemetry: what the journal says of the clients and the run, event by event."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.clock import VirtualClock
from antiphon.core.config import config_hash, resolved
from antiphon.core.events import (
    BytesMoved,
    ClientDescribed,
    ClientFailed,
    ClientJoined,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunDescribed,
    RunResumed,
    RunRewound,
    RunStarted,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.core.space import SpaceShapes
from antiphon.server.federation import Federation
from antiphon.server.planning.telemetry import Accumulator

STARTED = RunStarted("run", "", rounds=9, min_clients=1, max_failed_rounds=3)


def heard(*events):
    """An accumulator that has heard these (event, at_s)."""
    accumulator = Accumulator()
    for event, at_s in events:
        accumulator.hear(event, at_s)
    return accumulator


def planned(number, *cohort, telemetry=(), **fields):
    return RoundPlanned(number, cohort, 1, 60.0, telemetry=dict(telemetry), **fields)


def update(client, number=1, steps=10, **metrics):
    return UpdateReceived(client, number, "0" * 64, 100, 10, steps, metrics)


def of(accumulator, client="a", now=1000.0):
    return accumulator.telemetry(2, now).of(client)


ROUND = (
    (ClientJoined("a", 40), 0.0),
    (planned(1, "a"), 10.0),
    (BytesMoved(1, "a", "down", "model", 4000), 12.0),
    (BytesMoved(1, "a", "up", "update", 500), 27.0),
    (update("a", seconds=10.0, loss=2.0, tokens=640.0), 27.0),
)


def test_the_time_of_an_assignment_is_split():
    """17 s: 2 s for 4,000 bytes down, 10 s for ten steps, 5 s for 500 bytes up."""
    client = of(heard(*ROUND))

    assert client.downlink_bytes_per_s == pytest.approx(2000)
    assert client.uplink_bytes_per_s == pytest.approx(100)
    assert (client.step_s, client.turnaround_s) == (1.0, 17.0)


def test_the_newest_measurement_counts_half():
    """1 s a step, then 3 s a step: 2 s."""
    again = ((planned(2, "a"), 30.0), (update("a", 2, seconds=30.0), 60.0))

    assert of(heard(*ROUND, *again)).step_s == 2.0


def test_a_split_that_cannot_be_is_left_out():
    """Where the training alone takes longer than there was time, no link has been measured."""
    events = [*ROUND[:4], (update("a", seconds=99.0), 27.0)]

    client = of(heard(*events))

    assert client.uplink_bytes_per_s is None
    assert client.downlink_bytes_per_s is None


def test_what_a_machine_says_stands_in_for_measurements():
    """Links in kilobits, speed in tokens: 64 tokens a step at 32 tokens a second are 2 s."""
    facts = {"uplink_kbps": 8.0, "downlink_kbps": 80.0, "tokens_per_s": 32.0, "memory_bytes": 5}
    events = [(ClientDescribed("b", facts), 28.0)]

    client = of(heard(*ROUND, *events), "b")

    assert (client.uplink_bytes_per_s, client.downlink_bytes_per_s) == (1000.0, 10_000.0)
    assert (client.step_s, client.memory_bytes) == (2.0, 5)


def test_losses_give_oort_s_utility():
    """Examples × the root of the mean squared loss; the mean loss where no other is reported."""
    told = ((planned(2, "a"), 30.0), (update("a", 2, loss=2.0, rms_loss=3.0), 40.0))

    assert of(heard(*ROUND)).utility == 40 * 2.0
    accumulator = heard(*ROUND, *told)
    assert of(accumulator).utility == 40 * 3.0
    assert accumulator.telemetry(3, 50.0).run.utilities == (80.0, 120.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_tells_nothing(loss):
    """A diverged client has no utility, whatever it claims."""
    events = [*ROUND[:2], (update("a", loss=loss), 27.0)]

    assert of(heard(*events)).utility is None


def test_an_assignment_without_an_answer_is_a_failure():
    """The round closed without it: the time that was waited for it is a bound of what it takes."""
    events = [*ROUND[:2], (RoundFolded(1, ""), 70.0), (planned(2, "b"), 90.0)]

    client = of(heard(*events))

    assert (client.failures, client.turnaround_s) == (1, 60.0)


def test_to_be_one_too_many_is_no_failure():
    """In an over-selected round, those whom nobody waited for have not failed."""
    events = [
        (planned(1, "a", "b", enough=1), 0.0), (update("b"), 5.0), (planned(2, "b"), 9.0),
    ]  # fmt: skip

    assert of(heard(*events)).failures == 0


def test_what_was_under_way_when_a_run_went_back_is_no_failure():
    """Nobody could deliver it; and what was measured of models that do not count is forgotten."""
    accumulator = heard(
        (RoundEvaluated(1, {"loss": 2.0}), 5.0), (RoundEvaluated(2, {"loss": 1.0}), 8.0),
        (planned(3, "a", telemetry={"a": {"most_bytes": 700}}), 10.0), (RunRewound(1), 20.0),
        (planned(4, "b"), 30.0), (planned(5, "b"), 99.0),
    )  # fmt: skip

    assert of(accumulator).failures == 0
    run = accumulator.telemetry(6, 100.0).run
    assert (run.losses, run.reserved_bytes) == (((1, 2.0),), 0)


@pytest.mark.parametrize(
    "event", [UpdateRejected("a", 1, "NaN"), ClientFailed("a", 1, "no memory")]
)
def test_failures_are_counted_once(event):
    """A client that says that it failed, and delivers nothing, has failed once."""
    events = [*ROUND[:2], (event, 20.0), (planned(2, "a"), 90.0), (update("a", 2), 95.0)]

    assert of(heard(*events)).failures == 1


def test_an_asynchronous_assignment_outlives_its_round():
    """An update of round 1 that arrives in round 2 is one round stale, and no failure."""
    events = [
        (planned(1, "a", "b", max_staleness=3), 0.0),
        (RoundFolded(1, ""), 5.0),
        (planned(2, "b", max_staleness=3), 6.0),
        (update("a", 1, loss=1.0), 9.0),
    ]

    client = of(heard(*events))

    assert (client.staleness, client.failures, client.turnaround_s) == (1, 0, 9.0)


def test_a_client_that_comes_back_begins_anew():
    """The time while it was away is not held against its link."""
    events = [*ROUND[:2], (ClientJoined("a", 40), 20.0), (update("a", seconds=5.0), 27.0)]

    assert of(heard(*events)).turnaround_s == 7.0


def test_reservations_end_with_the_answer():
    """What an assignment may move is set aside until the client has answered it or a later one."""
    bounds = {"a": {"most_bytes": 70}, "run": {"evaluation_bytes": 11}}
    first = [(planned(1, "a", telemetry=bounds), 0.0)]
    second = [*first, (RoundEvaluated(1, {}), 5.0), (planned(2, "a", telemetry=bounds), 9.0)]

    reserved = [
        heard(*events).telemetry(3, 9.0).run.reserved_bytes
        for events in (first, second, [*second, (update("a", 2), 10.0)])
    ]

    assert reserved == [81, 151, 11]


def test_the_time_without_an_engine_does_not_count():
    """Seconds run from the start, less the gap before a run was taken up again."""
    events = [(STARTED, 100.0), (ClientJoined("a", 1), 130.0), (RunResumed(), 999.0)]

    run = heard(*events).telemetry(1, 1009.0).run

    assert (run.seconds, run.rounds) == (40.0, 9)


def test_the_run_s_own_figures():
    """Held-out losses that are finite, bytes both ways, the longest pause, the size of what it trains."""
    events = [
        (RunDescribed({"trained_parameters": 48, "engine": "simulation"}), 0.0),
        (RoundEvaluated(0, {"loss": 2.5}), 1.0),
        *ROUND,
        (RoundFolded(1, ""), 30.0),
        (RoundEvaluated(1, {"loss": math.inf}), 36.0),
        (planned(2, "a"), 37.0),
    ]

    run = heard(*events).telemetry(3, 40.0).run

    assert (run.losses, run.bytes_up, run.bytes_down) == (((0, 2.5),), 500, 4000)
    assert (run.overhead_s, run.parameters, run.simulated) == (7.0, 48, True)


NAMES = st.sampled_from("abc")
TIMES = st.floats(0, 1e6)
EVENTS = st.one_of(
    st.builds(ClientJoined, NAMES, st.integers(1, 100)),
    st.builds(
        lambda number, cohort: planned(number, *sorted(cohort)),
        st.integers(1, 9),
        st.sets(NAMES),
    ),
    st.builds(
        BytesMoved,
        st.integers(1, 9),
        NAMES,
        st.sampled_from(["up", "down"]),
        st.just("x"),
        st.integers(0, 10**9),
    ),
    st.builds(
        lambda client, number, steps, metrics: update(client, number, steps, **metrics),
        NAMES,
        st.integers(1, 9),
        st.integers(0, 50),
        st.dictionaries(
            st.sampled_from(["loss", "seconds", "tokens", "rms_loss"]), st.floats(width=64)
        ),
    ),
    st.builds(UpdateRejected, NAMES, st.integers(1, 9), st.just("")),
    st.builds(RoundFolded, st.integers(1, 9), st.just("")),
)


@given(st.lists(st.tuples(EVENTS, TIMES)))
def test_no_journal_gives_a_figure_that_is_none(entries):
    """Whatever clients claim and however clocks jump, rates are positive and nothing is NaN."""
    telemetry = heard(*entries).telemetry(9, 0.0)

    for client in telemetry.clients.values():
        rates = [client.uplink_bytes_per_s, client.downlink_bytes_per_s, client.step_s]
        assert all(rate is None or rate > 0 for rate in rates)
        assert client.turnaround_s is None or 0 <= client.turnaround_s < math.inf
        assert client.utility is None or 0 <= client.utility < math.inf
    assert all(math.isfinite(each) for each in telemetry.run.utilities)


def test_a_resumed_federation_knows_what_the_first_one_knew(tiny_config, tmp_path):
    """The journal alone is enough: telemetry before and after a restart is equal."""
    config = tiny_config("method=seeds", "seeds.num_seeds=16")
    folder = create(tmp_path, "run", resolved(config), config_hash(config))
    space = SpaceShapes({}, {"layer": (6, 4)}, "tiny", 24)
    clock = VirtualClock()
    with Journal.writing(folder.journal_file) as journal:
        federation = Federation(config, folder, journal, space, clock)
        for event, at_s in ((STARTED, 0.0), *ROUND[:1], (RoundEvaluated(0, {"loss": 2.0}), 5.0)):
            clock.advance_to(at_s)
            federation.submit(event)
        for event, at_s in ROUND[1:]:
            clock.advance_to(at_s)
            federation.submit(event)
        before = federation._telemetry.telemetry(2, 30.0)

        after = Federation(config, folder, journal, space, clock)._telemetry.telemetry(2, 30.0)

    assert before == after
    assert before.of("a").step_s == 1.0
