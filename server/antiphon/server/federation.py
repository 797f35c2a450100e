"""The server's side of a run, whatever the engine: journal, round machine, updates on disk, the model.

An engine (simulation, gRPC, Flower) gives events to `submit` and performs the actions that come back;
planning, checking, folding and saving are done here, so that they are the same everywhere. A crash at any
line is repaired by replay: `submit` writes the event to the journal before anybody acts on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from antiphon.core.clock import Clock
from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import (
    Event,
    Observation,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunResumed,
    RunStarted,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.files import write_bytes
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, file_name_of, read_bytes, read_state
from antiphon.core.tensors import LazyTensors, to_bytes
from antiphon.core.types import Assignment, LoraUpdate, State, Update
from antiphon.core.wire import pack_assignment, unpack_update
from antiphon.server.actions import Action
from antiphon.server.methods import server_method
from antiphon.server.planning import assignment_of, plan_round
from antiphon.server.round import replay, step
from antiphon.server.run_state import RunState
from antiphon.server.space import Space, write_adapter
from antiphon.strategies.guard import learning_rate_scale, undo
from antiphon.strategies.method import Download

MAX_FAILED_ROUNDS = 3


class Federation:
    """One run's server side. The engine owns the clock and the clients."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, journal: Journal, space: Space, clock: Clock
    ) -> None:
        """Take the run up where its journal ends; an empty journal is a new run."""
        self.config, self.folder, self.space = config, folder, space
        self._journal, self._clock = journal, clock
        self._method = server_method(config)
        entries = list(journal.read())
        self.machine = replay((entry.event, entry.at_s) for entry in entries)
        self._plans: dict[int, RoundPlanned] = {}
        self._best_held_out_loss = math.inf
        for entry in entries:
            self._remember(entry.event)
        self._downloads: dict[int, Download] = {}
        self.state: State = self._last_state()

    def start(self, min_clients: int) -> tuple[Action, ...]:
        """Begin the run, or resume it; return the first actions."""
        if self.machine.phase != "new":
            return self.submit(RunResumed())
        self._write_state(0, self.state)
        return self.submit(
            RunStarted(
                run_id=self.run_id,
                config_hash=config_hash(self.config),
                rounds=self.config.rounds,
                min_clients=min_clients,
                max_failed_rounds=MAX_FAILED_ROUNDS,
            )
        )

    @property
    def run_id(self) -> str:
        """The run's name on the wire: that of its folder when it began."""
        return self.machine.run.run_id or self.folder.path.name

    def submit(self, event: Event) -> tuple[Action, ...]:
        """Journal an event, let the machine see it, and return what is to be done."""
        now = self._clock.now()
        after, actions = step(self.machine, event, now)
        self._journal.append(event, now)
        self.machine = after
        self._remember(event)
        return actions

    def observe(self, *observations: Observation) -> None:
        """Journal measurements."""
        self._journal.append_many(observations, self._clock.now())

    def plan(self, number: int, clients: tuple[str, ...]) -> RoundPlanned:
        """Decide one round."""
        return plan_round(self.config, number, clients, learning_rate_scale(self.state))

    def assignment(self, client: str) -> Assignment:
        """Return what the open round asks of a client."""
        return assignment_of(self.config, self._plans[self.machine.round], client)

    def packed_assignment(self, client: str) -> bytes:
        """Return the bytes that go to a client: its task and the model to start from."""
        assignment = self.assignment(client)
        return pack_assignment(assignment, self.download(assignment.r), self.run_id)

    def download(self, r: int | None = None) -> Download:
        """Return the global model as a client of rank r receives it; none: the full rank."""
        rank = self.config.lora.r if r is None else r
        if rank not in self._downloads:
            self._downloads[rank] = self._method.download(self.state, rank)
        return self._downloads[rank]

    def receive(self, client: str, content: bytes) -> UpdateReceived | UpdateRejected:
        """Check what a client sent and keep it on disk; the event goes to `submit`."""
        number = self.machine.round
        plan = self._plans.get(number)
        try:
            update = unpack_update(content, client, self.run_id)
            wanted = plan is not None and client in plan.plan and update.round == number
            if wanted:
                self._check(update)
        except UpdateError as error:
            return UpdateRejected(client, number, str(error))
        digest = hashlib.sha256(content).hexdigest()
        if wanted and not self._has_accepted(client):
            write_bytes(self.folder.update_file(number, client), content)
        return UpdateReceived(
            client=client,
            round=update.round,
            digest=digest,
            bytes=len(content),
            examples=update.examples,
            steps=update.steps,
            metrics=update.metrics,
        )

    def fold(self, number: int, clients: tuple[str, ...]) -> RoundFolded | RoundUndone:
        """Fold a round's updates into the model and write the new state; the event goes to `submit`."""
        plan = self._plans[number]
        learning_rate = self.assignment(clients[0]).learning_rate if plan.plan else 0.0
        with TemporaryDirectory(prefix="fold-", dir=self.folder.round_dir(number)) as scratch:
            updates = self._updates(number, clients, Path(scratch))
            folded = self._method.fold(self.state, updates, learning_rate)
        if folded.undone:
            self._write_undone(number, folded.state)
            return RoundUndone(
                number, "the clients' losses exploded after the fold before this one"
            )
        digest = self._write_state(number, folded.state)
        return RoundFolded(number, digest, folded.report)

    def undo_if_exploded(self, number: int, loss: float) -> RoundUndone | None:
        """Roll the round's fold back where the held-out loss shows that it broke the model."""
        limit = self.config.seeds.guard_loss_factor * self._best_held_out_loss
        if self.config.method != "seeds" or (math.isfinite(loss) and loss <= limit):
            return None
        self._write_undone(number, undo(self.state))
        return RoundUndone(number, f"the held-out loss rose to {loss:.3g} nats per token")

    def save_adapter(self, number: int) -> None:
        """Write the PEFT folder of the model as it is after round `number`."""
        write_adapter(self.folder.adapter(number), self.config, self.space, self.download())

    def save_last_adapter(self) -> None:
        """Write the adapter of the model that the run ends with, where no round has done so.

        The last round may have failed or been undone, and rounds need not all be saved.
        """
        last = [each.round for each in self.machine.outcomes if each.ending in ("folded", "undone")]
        if last and not self.folder.adapter(last[-1]).exists():
            self.save_adapter(last[-1])

    def adapter_is_due(self, number: int) -> bool:
        """Whether the adapter after this round is to be saved."""
        every = self.config.output.adapter_every
        if every is None:
            every = self.config.rounds if self.config.trains_weights else 1
        return number == self.config.rounds or (number > 0 and number % every == 0)

    def _remember(self, event: Event) -> None:
        if isinstance(event, RoundPlanned):
            self._plans[event.round] = event
        elif isinstance(event, RoundEvaluated):
            loss = event.metrics.get("loss", math.inf)
            self._best_held_out_loss = min(self._best_held_out_loss, loss)

    def _check(self, update: Update) -> None:
        held = self.machine.clients[update.client].examples
        if update.examples != held:
            raise UpdateError(
                f"client {update.client} counts {update.examples} examples, it joined with {held}: its "
                "weight in the mean is what it joined with"
            )
        self._method.check(self.state, update, self.assignment(update.client))

    def _has_accepted(self, client: str) -> bool:
        receipt = self.machine.receipts.get(client)
        return receipt is not None and receipt.round == self.machine.round

    def _updates(self, number: int, clients: tuple[str, ...], scratch: Path) -> Iterator[Update]:
        """Yield the accepted updates; tensors stay on disk, so memory does not grow with the clients."""
        for client in clients:
            content = read_bytes(self.folder.update_file(number, client))
            if hashlib.sha256(content).hexdigest() != self.machine.receipts[client].digest:
                raise RunFolderError(
                    f"{self.folder.update_file(number, client)} is not the update that was accepted: "
                    "the run folder was changed. Start a new run"
                )
            update = unpack_update(content, client, self.run_id)
            if isinstance(update.payload, LoraUpdate):
                file = scratch / file_name_of(client)
                file.write_bytes(to_bytes(update.payload.delta))
                update = replace(update, payload=LoraUpdate(LazyTensors(file)))
            yield update

    def _write_state(self, number: int, state: State) -> str:
        content = to_bytes(state)
        write_bytes(self.folder.state_file(number), content)
        self._take(state)
        return hashlib.sha256(content).hexdigest()

    def _write_undone(self, number: int, state: State) -> None:
        write_bytes(self.folder.undone_file(number), to_bytes(state))
        self._take(state)

    def _take(self, state: State) -> None:
        self.state = state
        self._downloads.clear()

    def _last_state(self) -> State:
        """Return the state that the journal says is the newest."""
        machine: RunState = self.machine
        if machine.phase == "evaluating" and machine.round > 0:
            return read_state(self.folder.state_file(machine.round))
        for outcome in reversed(machine.outcomes):
            if outcome.ending in ("folded", "undone"):
                return read_state(self.folder.model_file(outcome.round))
        return self._method.init(self.space.initial)
