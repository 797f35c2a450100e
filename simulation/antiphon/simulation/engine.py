"""The in-process engine: the round machine on a virtual clock, every client in this process.

Clients train one after the other on the same worker, but in virtual time side by side: the fleet says how
long each of them takes to download, to train and to upload, and when it is away (fleet.py). What is due
is heard in the order of that time, and a deadline falls between where it belongs. A client trains at the
virtual end of its training, and not at all if its assignment has been taken back by then. What travels is
packed and unpacked as on a network, so that the bytes counted are the bytes a network would carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

from antiphon.client.data.clients import ClientData
from antiphon.client.evaluation import HeldOutScores
from antiphon.client.exchanges.exchange import AtSite, Kept
from antiphon.client.secure.masking import MaskingPlace
from antiphon.core.blob import Blob
from antiphon.core.clock import VirtualClock
from antiphon.core.errors import UpdateError
from antiphon.core.events import (
    MEASURING,
    TRAINING,
    BytesMoved,
    ClientFailed,
    ClientLeft,
    Evaluated,
    Event,
    Ticked,
)
from antiphon.core.types import Assignment, Package
from antiphon.core.wire import unpack_assignment, unpack_model, update_blob
from antiphon.server.federation import Federation
from antiphon.server.folding.held_out import METRICS, read_measurement
from antiphon.server.machine.actions import (
    Assign,
    CancelAssignment,
    Finish,
    Reply,
)
from antiphon.server.machine.round import next_deadline
from antiphon.server.machine.run_state import present
from antiphon.simulation.agenda import Agenda, Due, Given, Moment
from antiphon.simulation.driver import Driver
from antiphon.simulation.first_round import coming
from antiphon.simulation.fleet import SimulatedFleet, clients_needed
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.packing import PackedUpdate, Packing
from antiphon.simulation.resumption import UnderWay
from antiphon.simulation.workforce import Workforce
from antiphon.simulation.workload import Workload, workload_of
from antiphon.strategies.methods.method import method_of


class Simulation(Driver):
    """One run, from its first open round to the end."""

    def __init__(
        self,
        federation: Federation,
        worker: Workforce,
        clients: Mapping[str, ClientData],
        clock: VirtualClock,
        *,
        fleet: SimulatedFleet,
        under_way: Mapping[tuple[str, int], UnderWay],
        stopwatch: Callable[[], float],
        monitor: Monitor,
    ) -> None:
        """under_way: what a run that is resumed had given out; stopwatch: real seconds, for the time by
        phase.
        """
        super().__init__(federation, monitor, stopwatch)
        self._worker, self._clients = worker, clients
        self._clock, self._fleet, self._under_way = clock, fleet, dict(under_way)
        config = federation.config
        self._packing = Packing(
            federation.folder, config.compression, federation.run_id, method_of(config).inline
        )
        self._agenda = Agenda()
        self._answers: dict[str, bytes] = {}
        self._numbers = method_of(config).space.numbers(federation.space)
        self._newest: tuple[tuple[Blob, Blob | None], Package] | None = None

    def run(self) -> Finish:
        """Run to the end. An interruption leaves a journal from which the run can go on."""
        federation = self._federation
        needed = clients_needed(federation.config, self._fleet)
        self._actions.extend(federation.start(needed, clock_stood=True))
        with self._packing:
            self._open_doors()
            while (finish := self._work()) is None:
                self._wait()
        self._submit()
        return finish

    def _call_off(self, action: CancelAssignment) -> None:
        if action.exchange == MEASURING:
            return  # it was done as soon as it was asked for
        self._agenda.take_back(action.client, action.round)

    def _wait(self) -> None:
        """Let virtual time pass until what is due next or the deadline, whichever is first."""
        deadline, due_at = next_deadline(self._federation.machine), self._agenda.next_at()
        if due_at is not None and (deadline is None or due_at < deadline):
            self._clock.advance_to(due_at)
            self._happen(self._agenda.pop())
        elif deadline is not None:
            self._clock.advance_to(deadline)
            self._submit(Ticked())
        else:
            raise AssertionError("the run waits for something that no simulated client will send")

    def _happen(self, due: Due) -> None:
        match due.stage, due.given:
            case Moment.DOWNLOADED, Given() as given:
                self._submit(*_down(given))
            case Moment.TRAINED, Given() as given:
                self._train(given, due.when)
            case Moment.PACKED, Given() as given if due.packing is not None:
                self._send(given, due.when, due.packing)
            case Moment.DELIVERED, Given() as given if due.packing is not None:
                self._arrive(given, due.packing.result())
            case Moment.ASKED, Given() as given:
                self._answer(given, when=due.when)
            case Moment.ANSWERED, Given() as given:
                self._take_answer(given)
            case Moment.DIED, Given() as given:
                self._fail(given, "it died while it trained")
            case _:
                self._change(due.client, due.when)

    def _open_doors(self) -> None:
        """Let in whoever is on line and not there, or out, and note when each comes or goes next."""
        now, here = self._clock.now(), set(present(self._federation.machine))
        changes: list[Event] = []
        for name in sorted(self._clients):
            if self._fleet.is_on(name, now) != (name in here):
                changes.extend(self._coming_or_going(name, now))
            self._await_change(name, now)
        self._submit(*changes)

    def _change(self, client: str, when: float) -> None:
        events = self._coming_or_going(client, when)
        if not self._fleet.is_on(client, when):
            self._agenda.take_back(client)
        self._submit(*events)
        self._await_change(client, when)

    def _coming_or_going(self, client: str, when: float) -> Iterable[Event]:
        if not self._fleet.is_on(client, when):
            return [ClientLeft(client, "it is off line")]
        known = client in self._federation.machine.clients
        return coming(self._federation.config, self._fleet, self._clients[client], known=known)

    def _await_change(self, client: str, now: float) -> None:
        when = self._fleet.next_change(client, now)
        if when is not None:
            self._agenda.add(Due(when, client, Moment.CHANGED))

    def _give(self, action: Assign) -> None:
        """Give an assignment to a client, and note what becomes of it and when."""
        client, number = action.client, action.round
        before = self._under_way.pop((client, number), UnderWay(self._clock.now()))
        if action.exchange != TRAINING:
            asked = self._federation.exchanges.ask(self._federation.machine, client)
            given = Given(client, number, before.at, len(asked), action.exchange, asked)
            self._agenda.give(given)
            here = given.at + self._fleet.download_s(client, given.bytes_down)
            self._agenda.add(Due(here, client, Moment.ASKED, given))
            return
        message, _ = self._federation.packed_assignment(client)
        assignment = self._federation.assignment(client)
        frames = self._federation.global_model.frames()
        new = frames is not None and not self._federation.exchanges.has_frames(client)
        beside = frames.bytes if frames and new else 0
        fetched = self._federation.global_model.bytes_to(client, assignment.round, assignment.r)
        size = len(message) + fetched
        given = Given(client, number, before.at, size, message=message, frames_down=beside)
        self._agenda.give(given)
        here = given.at + self._fleet.download_s(client, given.bytes_down + beside)
        if self._fleet.described and not before.downloaded:
            self._agenda.add(Due(here, client, Moment.DOWNLOADED, given))
        training_s = self._training_s(assignment)
        dies = self._fleet.failure(client, number)
        if dies is None:
            self._agenda.add(Due(here + training_s, client, Moment.TRAINED, given))
        else:
            self._agenda.add(Due(here + dies * training_s, client, Moment.DIED, given))

    def _training_s(self, assignment: Assignment) -> float:
        client, work = assignment.client, Workload(assignment.steps, 0)
        if assignment.max_tokens or self._fleet.counts_tokens(client):
            trainer = method_of(self._federation.config).role(assignment.method).trainer
            work = workload_of(assignment, self._clients[client], trainer.examples_per_step)
        return self._fleet.training_s(client, work)

    def _train(self, given: Given, when: float) -> None:
        federation, client = self._federation, given.client
        assignment, named = unpack_assignment(given.message, client, federation.run_id)
        download = self._unpacked(named, assignment.frames)

        def on_step(done: int, loss: float) -> None:
            self._monitor.client_stepped(client, done, assignment.steps, loss)

        with self._timed(given.number, "training"):
            keep = federation.folder.residuals(client)
            data, place = self._clients[client], self._place(client, named)
            update = self._worker.train(assignment, download, data, on_step, keep, place)
        # What a client says of its time must not depend on the machine that simulates it.
        metrics = {**update.metrics, "seconds": self._training_s(assignment)}
        sent = self._fleet.told(replace(update, metrics=metrics))
        self._agenda.add(
            Due(when, client, Moment.PACKED, given, self._packing.begin(sent, assignment))
        )

    def _place(self, client: str, model: Blob) -> MaskingPlace:
        federation = self._federation
        return MaskingPlace(federation.run_id, model.sha256, Kept(federation.folder.kept(client)))

    def _send(self, given: Given, when: float, packing: Future[PackedUpdate]) -> None:
        client = given.client
        try:
            letter = packing.result()
        except UpdateError as error:  # it has diverged, and no codec packs what is not finite
            return self._fail(given, str(error))
        arrives = when + self._fleet.upload_s(client, letter.bytes)
        self._agenda.add(Due(arrives, client, Moment.DELIVERED, given, packing))

    def _unpacked(self, model: Blob, frames: Blob | None) -> Package:
        """Return a model as a client unpacks it; most clients of a round start from the same one."""
        if self._newest is None or self._newest[0] != (model, frames):
            file = self._federation.folder.model_blob
            still = file(frames.sha256) if frames else None
            shapes = self._numbers
            unpacked = unpack_model(file(model.sha256), model.encoding, shapes, frames=still)
            self._newest = ((model, frames), unpacked)
        return self._newest[1]

    def _answer(self, given: Given, when: float) -> None:
        """Answer what an exchange asks; that takes no virtual time, but its way to the coordinator does."""
        client, number = given.client, given.number
        kept = Kept(self._federation.folder.kept(client))
        data = self._clients[client]
        try:
            with self._timed(number, "exchanges"):
                answer = self._worker.answer(
                    given.exchange,
                    number,
                    given.message,
                    kept,
                    data,
                    AtSite(self._federation.run_id),
                )
        except UpdateError as error:
            return self._fail(given, str(error))
        self._answers[client] = answer
        arrives = when + self._fleet.upload_s(client, len(answer))
        self._agenda.add(Due(arrives, client, Moment.ANSWERED, given))

    def _take_answer(self, given: Given) -> None:
        client, number, exchange = given.client, given.number, given.exchange
        self._agenda.take_back(client, number)
        federation, answer = self._federation, self._answers.pop(client)
        received = federation.exchanges.receive(
            federation.machine, client, number, exchange, answer
        )
        self._submit(
            BytesMoved(number, client, "down", "exchange", given.bytes_down),
            BytesMoved(number, client, "up", "exchange", len(answer)),
            received,
        )

    def _fail(self, given: Given, reason: str) -> None:
        self._agenda.take_back(given.client, given.number)
        self._submit(ClientFailed(given.client, given.number, reason, given.exchange))

    def _arrive(self, given: Given, letter: PackedUpdate) -> None:
        self._agenda.take_back(given.client, given.number)
        federation, blob = self._federation, update_blob(letter.message)
        client, number = given.client, given.number
        with self._timed(number, "checks"):
            received = federation.receive(client, letter.message)
        moved = BytesMoved(number, client, "up", "update", letter.bytes)
        before = () if self._fleet.described else _down(given)
        for action in self._submit(*before, moved, received):
            if isinstance(action, Reply):
                self._monitor.replied(action, letter.bytes)
        if blob is not None:
            federation.folder.upload_file(client, blob.sha256).unlink()

    def _measure(self, asked: Sequence[Assign]) -> None:
        """Measure the global model on the clients' held-out data; that takes no virtual time."""
        self._worker.load(self._federation.download())
        found = list[Event]()
        for done, ask in enumerate(asked):
            if ask.round == self._federation.config.rounds:
                # Others come with the next round's assignment, and a model goes to a client once.
                size = self._federation.global_model.bytes_to(ask.client)
                found.append(BytesMoved(ask.round, ask.client, "down", "model", size))
            self._monitor.evaluating(ask.round, done, len(asked))
            measured = self._worker.evaluate(self._clients[ask.client])
            found.append(_evaluated(ask.round, ask.client, measured))
        self._submit(*found)


def _down(given: Given) -> tuple[BytesMoved, ...]:
    moved = (("model", given.bytes_down), ("frames", given.frames_down))
    return tuple(
        BytesMoved(given.number, given.client, "down", purpose, size)
        for purpose, size in moved
        if size
    )


def _evaluated(number: int, client: str, measured: HeldOutScores) -> Evaluated:
    said = {name: getattr(measured, name) for name in METRICS}
    metrics = {name: value for name, value in said.items() if value is not None}
    return read_measurement(number, client, measured.examples, metrics)
