"""The in-process engine: the round machine on a virtual clock, every client in this process.

Clients train one after the other on the same worker, but in virtual time side by side: an assignment of
n steps arrives n × `step_s` later, arrivals are heard in the order of that time, and a deadline falls
between them where it belongs. What travels is packed and unpacked as on a network, so that the bytes
counted are the bytes a network would carry.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from antiphon.client.data.clients import ClientData
from antiphon.client.evaluation import Measured
from antiphon.client.worker import Worker
from antiphon.core.clock import VirtualClock
from antiphon.core.events import (
    BytesMoved,
    ClientJoined,
    Evaluated,
    Event,
    PhaseTimed,
    RoundUndone,
    Ticked,
)
from antiphon.core.files import write_bytes
from antiphon.core.wire import Packed, pack_update, unpack_assignment, unpack_model, update_blob
from antiphon.server.actions import (
    Action,
    Assign,
    CancelAssignment,
    Evaluate,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.federation import Federation
from antiphon.server.round import next_deadline
from antiphon.server.run_state import present
from antiphon.simulation.monitor import Monitor

Arrival = tuple[float, str, int]
"""When an assignment's update arrives (virtual seconds), its client and its round."""


class Simulation:
    """One run, from its first open round to the end."""

    def __init__(
        self,
        federation: Federation,
        worker: Worker,
        clients: Mapping[str, ClientData],
        clock: VirtualClock,
        *,
        step_s: float,
        stopwatch: Callable[[], float],
        monitor: Monitor,
    ) -> None:
        """step_s: virtual seconds of a local step; stopwatch: real seconds, for the time by phase."""
        self._federation, self._worker, self._clients = federation, worker, clients
        self._clock, self._step_s = clock, step_s
        self._stopwatch, self._monitor = stopwatch, monitor
        self._arrivals: list[Arrival] = []
        self._actions: deque[Action] = deque()

    def run(self) -> Finish:
        """Run to the end. An interruption leaves a journal from which the run can go on."""
        self._actions.extend(self._federation.start(len(self._clients)))
        here = set(present(self._federation.machine))
        for name in sorted(set(self._clients) - here):
            self._submit(ClientJoined(name, len(self._clients[name].train)))
        while True:
            while self._actions:
                action = self._actions.popleft()
                if isinstance(action, Finish):
                    self._federation.save_last_adapter()
                    return action
                self._perform(action)
            self._wait()

    def _submit(self, event: Event) -> None:
        self._actions.extend(self._federation.submit(event))

    def _perform(self, action: Action) -> None:
        match action:
            case PlanRound():
                plan = self._federation.plan(action.round, action.clients)
                self._submit(plan)
                self._monitor.round_planned(plan)
            case Assign():
                steps = self._federation.assignment(action.client).steps
                arrives = self._clock.now() + steps * self._step_s
                heapq.heappush(self._arrivals, (arrives, action.client, action.round))
            case CancelAssignment():
                cancelled = (action.client, action.round)
                self._arrivals = [each for each in self._arrivals if each[1:] != cancelled]
                heapq.heapify(self._arrivals)
            case Fold():
                with self._timed(action.round, "fold"):
                    folded = self._federation.fold(action.round, action.clients)
                self._submit(folded)
                if isinstance(folded, RoundUndone):
                    self._monitor.round_undone(folded.round, folded.reason)
            case Evaluate():
                self._evaluate(action.round)

    def _wait(self) -> None:
        """Let virtual time pass until the next update or the deadline, whichever is first."""
        deadline = next_deadline(self._federation.machine)
        if self._arrivals and (deadline is None or self._arrivals[0][0] < deadline):
            arrives, client, number = heapq.heappop(self._arrivals)
            self._clock.advance_to(arrives)
            self._train(client, number)
        elif deadline is not None:
            self._clock.advance_to(deadline)
            self._submit(Ticked())
        else:
            raise AssertionError("the run waits for something that no simulated client will send")

    def _train(self, client: str, number: int) -> None:
        federation = self._federation
        message, model = federation.packed_assignment(client)
        assignment, named = unpack_assignment(message, client, federation.run_id)
        download = unpack_model(federation.folder.model_blob(named.sha256), named.encoding)

        def on_step(done: int, loss: float) -> None:
            self._monitor.client_stepped(client, done, assignment.steps, loss)

        with self._timed(number, "training"):
            update = self._worker.train(assignment, download, self._clients[client], on_step)
        packed = pack_update(update, federation.run_id)
        federation.observe(
            BytesMoved(number, client, "down", "model", len(message) + model.bytes),
            BytesMoved(number, client, "up", "update", packed.size),
        )
        self._deliver(number, client, packed)

    def _deliver(self, number: int, client: str, packed: Packed) -> None:
        federation, blob = self._federation, update_blob(packed.message)
        upload = federation.folder.upload_file(client, blob.sha256) if blob else None
        if upload is not None and packed.content is not None:
            write_bytes(upload, packed.content)
        with self._timed(number, "checks"):
            received = federation.receive(client, packed.message)
        for action in federation.submit(received):
            if isinstance(action, Reply):
                self._monitor.replied(action, packed.size)
            self._actions.append(action)
        if upload is not None:
            upload.unlink()

    def _evaluate(self, number: int) -> None:
        federation = self._federation
        measured: list[Evaluated] = []
        if federation.evaluation_is_due(number):
            with self._timed(number, "evaluation"):
                measured = self._measure(number)
        with self._timed(number, "saving"):
            concluded = federation.conclude(number, measured)
        self._submit(concluded)
        if isinstance(concluded, RoundUndone):
            self._monitor.round_undone(number, concluded.reason)
        elif concluded.metrics:
            self._monitor.evaluated(number, concluded.metrics)

    def _measure(self, number: int) -> list[Evaluated]:
        """Measure the global model on every client's held-out data."""
        self._worker.load(self._federation.download())
        measured: list[Evaluated] = []
        for name in sorted(self._clients):
            self._monitor.evaluating(number, len(measured), len(self._clients))
            measured.append(_evaluated(number, name, self._worker.evaluate(self._clients[name])))
            self._federation.observe(measured[-1])
        return measured

    @contextmanager
    def _timed(self, number: int, phase: str) -> Iterator[None]:
        start = self._stopwatch()
        yield
        self._federation.observe(PhaseTimed(number, phase, self._stopwatch() - start))


def _evaluated(number: int, client: str, measured: Measured) -> Evaluated:
    return Evaluated(
        round=number,
        client=client,
        examples=measured.examples,
        loss=measured.loss,
        accuracy=measured.accuracy,
        perplexity=measured.perplexity,
        rouge_l=measured.rouge_l,
    )
