"""A simulated run with a fleet file: when things happen, and that chance repeats itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, RunFolderError
from antiphon.core.events import (
    BytesMoved,
    ClientDescribed,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    Event,
    PhaseTimed,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunDescribed,
    RunResumed,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Entry, Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.availability import Drawn
from antiphon.simulation.fleet import SimulatedFleet
from antiphon.simulation.fleet_file import ClientTraits
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split
from antiphon.simulation.workload import Workload

pytestmark = pytest.mark.slow

Of = TypeVar("Of")
FleetMaker = Callable[..., RunConfig]
TWO = ("data.partition=iid", "data.clients=2")
NOT_REPEATED = (PhaseTimed, RunDescribed, RunResumed)
"""What says how long the machine took, or that the run was cut off."""


@pytest.fixture
def fleet_config(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> FleetMaker:
    """Make a small run's config with a fleet of these entries."""

    def make(entries: list[str], *overrides: str) -> RunConfig:
        file = tmp_path / "fleet.yaml"
        file.write_text("clients:\n" + "".join(f"  - {line}\n" for line in entries))
        return tiny_config(f"engine.fleet={file}", *overrides)

    return make


def run(config: RunConfig, **options: Any) -> RunFolder:
    """Run a config."""
    return simulate(config, load_split(config), **options)


def journal(folder: RunFolder, *kinds: type[Event]) -> list[Entry]:
    """The entries of these kinds."""
    with Journal.reading(folder.journal_file) as opened:
        return list(opened.read(kinds=kinds))


def happened(folder: RunFolder, kind: type[Of]) -> list[tuple[float, Of]]:
    """The events of one kind with their virtual times."""
    entries = journal(folder, cast(type[Event], kind))
    return [(each.at_s, each.event) for each in entries if isinstance(each.event, kind)]


def told(folder: RunFolder) -> list[tuple[float, Event]]:
    """All that must repeat itself: the events with their virtual times."""
    entries = [each for each in journal(folder) if not isinstance(each.event, NOT_REPEATED)]
    # The last digit of what a fold reports depends on where numpy's arrays lie in memory.
    return [
        (
            each.at_s,
            replace(each.event, report={}) if isinstance(each.event, RoundFolded) else each.event,
        )
        for each in entries
    ]


class Stops(Monitor):
    """Interrupts the run as Ctrl-C would, before the n-th step."""

    def __init__(self, at: int) -> None:
        """at: from 1."""
        self._left = at

    def client_stepped(self, client: str, done: int, steps: int, loss: float) -> None:
        """Count down."""
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


def interrupted(config: RunConfig, at: int) -> None:
    """Run a config up to its n-th step."""

    @contextmanager
    def monitor_for(clients: int) -> Iterator[Monitor]:
        yield Stops(at)

    with pytest.raises(KeyboardInterrupt):
        run(config, monitor_for=monitor_for)


def test_times_are_those_of_the_formula() -> None:
    """125 kB take 1 s at 1,000 kbit/s, three steps of 2 s take 6 s, 900 tokens at 90 a second 10 s."""
    traits = ClientTraits(step_s=2, downlink_kbps=1000, uplink_kbps=500, latency_s=0.25)
    fleet = SimulatedFleet({"a": traits, "b": ClientTraits(tokens_per_s=90)}, seed=0)

    taken = fleet.download_s("a", 125_000), fleet.upload_s("a", 125_000)
    trained = fleet.training_s("a", Workload(3, 900)), fleet.training_s("b", Workload(3, 900))

    assert taken == (1.25, 2.25)
    assert trained == (6.0, 10.0)
    assert fleet.download_s("b", 125_000) == 0


def test_updates_arrive_when_the_lines_and_steps_say(fleet_config: FleetMaker) -> None:
    """The first of two clients has its model after 0.25 s and 8 D bits, trains for 1 s, sends 8 U bits."""
    entries = [
        "{count: 1, step_s: 0.5, downlink_kbps: 1000, uplink_kbps: 500, latency_s: 0.25}",
        "{count: 1, step_s: 10}",
    ]

    folder = run(fleet_config(entries, *TWO, "rounds=1"))

    arrived = {event.client: at_s for at_s, event in happened(folder, UpdateReceived)}
    moved = [event for _, event in happened(folder, BytesMoved) if event.client == "client-00"]
    size = {event.direction: event.bytes for event in reversed(moved)}
    here = 0.25 + 8 * size["down"] / 1e6
    assert arrived == {
        "client-00": pytest.approx(here + 2 * 0.5 + 0.25 + 8 * size["up"] / 500e3, abs=1e-9),
        "client-01": 20.0,
    }


def test_a_download_is_counted_when_it_is_complete(fleet_config: FleetMaker) -> None:
    """Bytes down are journalled at their arrival, also of a client whose update comes too late; then both
    measure the run's last model.
    """
    entries = ["{count: 1, step_s: 1}", "{count: 1, step_s: 100, latency_s: 2}"]
    config = fleet_config(entries, *TWO, "rounds=1", "cohort={quorum: 1, deadline_s: 50}")

    moved = happened(run(config), BytesMoved)

    seen = [(event.client, event.direction, at_s) for at_s, event in moved]
    assert seen == [
        ("client-00", "down", 0.0), ("client-01", "down", 2.0), ("client-00", "up", 2.0),
        ("client-00", "down", 50.0), ("client-01", "down", 50.0),
    ]  # fmt: skip


def test_a_straggler_is_left_behind(fleet_config: FleetMaker) -> None:
    """At the deadline a round folds what has arrived, and the straggler's work is cancelled."""
    entries = ["{name: quarry, step_s: 40}", "{step_s: 1}"]

    folder = run(fleet_config(entries, "cohort={quorum: 2, deadline_s: 50}"))

    assert [each.at_s for each in journal(folder, RoundFolded)] == [50.0, 100.0]
    assert len(journal(folder, Ticked)) == 2
    senders = {event.client for _, event in happened(folder, UpdateReceived)}
    assert senders == {"harbour", "meadow", "summit"}


def test_tokens_decide_where_the_rate_is_in_tokens(fleet_config: FleetMaker) -> None:
    """A client of 50 tokens/s delivers after the tokens that it says it has seen, over 50."""
    folder = run(fleet_config(["{tokens_per_s: 50}"], "rounds=1"))

    for at_s, event in happened(folder, UpdateReceived):
        assert at_s == pytest.approx(event.metrics["tokens"] / 50)
        assert event.metrics["seconds"] == pytest.approx(at_s)


def test_clients_that_die_are_told_with_the_time_they_trained(fleet_config: FleetMaker) -> None:
    """A client that fails does so during its training and sits out the next round; the others go on."""
    entries = ["{name: quarry, step_s: 10, failure_rate: 1}", "{step_s: 1}"]

    folder = run(fleet_config(entries, "cohort.quorum=3"))

    died = journal(folder, ClientFailed)
    assert [each.event for each in died] == [ClientFailed("quarry", 1, "it died while it trained")]
    assert 0 < died[0].at_s < 20
    assert folder.is_complete()


def test_clients_come_and_go_when_their_availability_says(fleet_config: FleetMaker) -> None:
    """ClientLeft and ClientJoined stand at the changes of the process, and only there."""
    entries = ["{name: quarry, step_s: 1, availability: 0.5, mean_on_s: 3}", "{step_s: 1}"]
    config = fleet_config(entries, "rounds=6", "cohort={min_clients: 3, quorum: 2}")

    folder = run(config)

    changes = happened(folder, ClientJoined) + happened(folder, ClientLeft)
    seen = sorted(at_s for at_s, each in changes if each.client == "quarry" and at_s > 0)
    times, expected, now = Drawn(config.seed, "quarry", 0.5, 3.0), list[float](), 0.0
    while len(expected) < len(seen):
        expected.append(now := times.next_change(now))
    assert seen == expected
    assert len(seen) > 2


def test_work_is_lost_with_the_line_and_given_again(fleet_config: FleetMaker) -> None:
    """A client that goes off line begins its round anew when it is back."""
    entries = ["{count: 1, step_s: 1, availability: 0.5, mean_on_s: 3}", "{step_s: 1}"]
    config = fleet_config(
        entries, *TWO, "rounds=8", "cohort={min_clients: 1, quorum: 2, deadline_s: 60}"
    )

    downs = [each for _, each in happened(run(config), BytesMoved) if each.direction == "down"]

    again = {(each.client, each.round) for each in downs if downs.count(each) > 1}
    assert again
    assert {client for client, _ in again} == {"client-00"}


PHONES = [
    "{count: 2, step_s: 1, latency_s: 0.1, uplink_kbps: 900, downlink_kbps: 2000, availability: 0.7, "
    "mean_on_s: 9, failure_rate: 0.3}",
    "{step_s: 3, latency_s: 0.2, uplink_kbps: 500}",
]
ROUGH = ("rounds=4", "cohort={min_clients: 2, quorum: 1, deadline_s: 8}")


BUFFERED = (
    "rounds=5",
    "cohort={min_clients: 2, quorum: 1, deadline_s: 90, asynchronous: {buffer: 2}}",
)


@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_the_same_seed_gives_the_same_journal(fleet_config: FleetMaker, method: str) -> None:
    """Every event stands at the same virtual time in two runs of one YAML; another seed differs."""
    config = fleet_config(PHONES, *ROUGH, f"method={method}")

    first, second = (run(elsewhere(config, part)) for part in "ab")
    other = run(elsewhere(fleet_config(PHONES, *ROUGH, f"method={method}", "seed=8"), "c"))

    assert told(first) == told(second)
    assert told(first) != told(other)


def elsewhere(config: RunConfig, part: str) -> RunConfig:
    """The same run in another folder of runs."""
    runs_dir = str(Path(config.output.runs_dir) / part)
    return config.model_copy(
        update={"output": config.output.model_copy(update={"runs_dir": runs_dir})}
    )


@pytest.mark.parametrize(("cohort", "at"), [(ROUGH, 4), (ROUGH, 9), (BUFFERED, 5), (BUFFERED, 10)])
def test_resume_is_as_if_nothing_had_happened(
    fleet_config: FleetMaker, cohort: tuple[str, ...], at: int
) -> None:
    """A run that is cut off and resumed has the undisturbed run's journal, times and all."""
    config = fleet_config(PHONES, *cohort)
    undisturbed = told(run(elsewhere(config, "undisturbed")))

    interrupted(elsewhere(config, "cut off"), at)
    resumed = run(elsewhere(config, "cut off"), resume=True)

    assert told(resumed) == undisturbed


def test_resume_refuses_another_fleet(fleet_config: FleetMaker) -> None:
    """A run goes on with the fleet that it began with, or not at all."""
    interrupted(fleet_config(PHONES, *ROUGH), 2)

    with pytest.raises(RunFolderError, match="the fleet file has changed since this run began"):
        run(fleet_config(["{step_s: 1}"], *ROUGH), resume=True)


def test_clients_describe_themselves_as_real_ones_do(fleet_config: FleetMaker) -> None:
    """Each says once what it computes on, its memory and its rates; what is unknown is left out."""
    entries = ["{count: 1, device: phone, memory_gb: 6, tokens_per_s: 90, uplink_kbps: 800}",
               "{step_s: 1}"]  # fmt: skip

    described = happened(run(fleet_config(entries, *TWO, "rounds=1")), ClientDescribed)

    first, second = (event.facts for _, event in described)
    assert first == {"device": "phone", "memory_bytes": 6_000_000_000, "tokens_per_s": 90.0,
                     "uplink_kbps": 800.0, "latency_s": 0.0}  # fmt: skip
    assert second.keys() == {"device", "tokens_per_s", "step_s", "latency_s"}
    assert second["step_s"] == 1.0


def test_a_client_holds_its_share_of_the_data(fleet_config: FleetMaker) -> None:
    """A data_share of 0.3 leaves 12 of 40 training examples, and every held-out one."""
    clients = load_split(fleet_config(["{step_s: 1, data_share: 0.3}"])).clients

    assert {(len(each.train), len(each.evaluation)) for each in clients} == {(12, 20)}


def test_a_fleet_that_is_never_there_is_refused(fleet_config: FleetMaker) -> None:
    """Where too few clients are on line at a time, the run would wait for ever."""
    config = fleet_config(["{step_s: 1, availability: 0.2}"], "cohort.min_clients=3")

    with pytest.raises(ConfigError, match=r"0\.8 of 4 clients are on line .* a round needs 3"):
        load_split(config)


def test_without_a_file_nothing_is_described(tiny_config: Callable[..., RunConfig]) -> None:
    """A run without a fleet has n × step_s virtual seconds to a round, and no facts of clients."""
    folder = run(tiny_config())

    assert journal(folder, ClientDescribed, ClientLeft, ClientFailed) == []
    assert [each.at_s for each in journal(folder, RoundFolded)] == [2.0, 4.0]


def test_roles_by_machine_need_machines(tiny_config: Callable[..., RunConfig]) -> None:
    """Simulated clients without a fleet file say nothing of themselves: nobody would have the role."""
    config = tiny_config("method=mixed", "seeds.space=adapter", "mixed.seeds_devices=[cpu]")

    with pytest.raises(ConfigError, match="nobody would be one of them"):
        load_split(config)


def test_a_deadline_before_every_end_is_refused(tiny_config: Callable[..., RunConfig]) -> None:
    """Where all clients take longer than a round lasts, nothing is begun."""
    config = tiny_config("training.max_steps=2", "cohort.deadline_s=2")

    with pytest.raises(ConfigError, match="no update could ever arrive"):
        run(config)

    assert not Path(config.output.runs_dir).exists()


LIARS = {
    "scaled": r"norm is .*, the round allows 3",
    "nan": "holds NaN or Inf",
    "random": r"norm is .*, the round allows 3",
}


@pytest.mark.parametrize(("liar", "reason"), LIARS.items(), ids=LIARS)
def test_a_lie_is_refused_with_a_reason(fleet_config: FleetMaker, liar: str, reason: str) -> None:
    """What is no number or too large does not get into the model, and its sender sits out a round."""
    entries = [f"{{name: quarry, step_s: 1, liar: {liar}}}", "{step_s: 1}"]

    folder = run(fleet_config(entries, "cohort.quorum=3", "training.max_update_norm=3"))

    refused = [event for _, event in happened(folder, UpdateRejected)]
    assert [each.client for each in refused] == ["quarry"]
    assert re.search(reason, refused[0].reason)
    assert folder.is_complete()


def test_what_cannot_be_packed_fails_with_a_reason(fleet_config: FleetMaker) -> None:
    """A client whose numbers no codec takes is one that failed, and the round goes on."""
    entries = ["{name: quarry, step_s: 1, liar: nan}", "{step_s: 1}"]
    config = fleet_config(entries, "cohort.quorum=3", "compression.uplink=int8", "rounds=1")

    ((at_s, failed),) = happened(run(config), ClientFailed)

    assert (at_s, failed.client) == (2.0, "quarry")
    assert "holds NaN or Inf" in failed.reason


def test_a_flipped_sign_is_bounded_by_its_norm(fleet_config: FleetMaker) -> None:
    """An update that goes back is as long as the honest one: it counts, and makes the mean worse."""
    cohort = "cohort.quorum=4"
    lying = run(fleet_config(["{step_s: 1, liar: sign-flipped}"], cohort, "rounds=1"))
    honest = run(fleet_config(["{step_s: 1}"], cohort, "rounds=1"))

    def loss(folder: RunFolder) -> float:
        return happened(folder, RoundEvaluated)[-1][1].metrics["loss"]

    assert len(journal(lying, UpdateReceived)) == 4
    assert loss(lying) > loss(honest)


def test_planned_rounds_take_those_on_line(fleet_config: FleetMaker) -> None:
    """A cohort is of clients that were on line when it was planned."""
    config = fleet_config(PHONES, *ROUGH)
    fleet = load_split(config).fleet
    assert fleet is not None

    for at_s, plan in happened(run(config), RoundPlanned):
        assert all(fleet.is_on(client, at_s) for client in plan.cohort)
