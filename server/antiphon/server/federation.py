"""The server's side of a run, whatever the engine: journal, round machine, updates on disk, the model.

An engine (simulation, gRPC, Flower) gives events to `submit` and performs the actions that come back;
planning, checking, folding and saving are done here, so that they are the same everywhere. A crash at any
line is repaired by replay: `submit` writes the event to the journal before anybody acts on it.

One thread at a time may use a federation; only `fold_updates` may run beside the others.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.core import fault_points
from antiphon.core.blob import Blob, blob_of
from antiphon.core.clock import Clock
from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import (
    Evaluated,
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
from antiphon.core.files import link_whole, remove_parts, sha256_of, write_bytes, write_cache
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, read_bytes, read_state
from antiphon.core.tensors import to_bytes
from antiphon.core.types import Assignment, State, Update
from antiphon.core.wire import pack_assignment, pack_model, unpack_update, update_blob
from antiphon.server.actions import Action
from antiphon.server.methods import server_method
from antiphon.server.planning import assignment_of, plan_round
from antiphon.server.round import replay, step
from antiphon.server.run_state import RunState
from antiphon.server.space import Space, write_adapter
from antiphon.strategies.guard import learning_rate_scale, undo
from antiphon.strategies.method import Download, Folded

MAX_FAILED_ROUNDS = 3
METRICS = ("loss", "perplexity", "accuracy", "rouge_l")
"""What an evaluation measures."""


@dataclass(frozen=True)
class Folding:
    """A fold that has been computed and is not yet taken. content: of the new state's file."""

    round: int
    folded: Folded
    content: bytes


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
        self._measured: dict[int, dict[str, Evaluated]] = {}
        for entry in entries:
            self._remember(entry.event)
        self._downloads: dict[int, Download] = {}
        self._models: dict[int, Blob] = {}
        self._compared: set[tuple[int, str]] = set()
        shutil.rmtree(folder.models, ignore_errors=True)  # written without a sync: may be torn
        remove_parts(
            folder.path
        )  # of a process that was killed; the journal's lock says it is gone
        self.state: State = self._last_state()

    def start(self, min_clients: int) -> tuple[Action, ...]:
        """Begin the run, or resume it; return the first actions."""
        if self.machine.phase != "new":
            return self.submit(RunResumed())
        self._write(self.folder.state_file(0), to_bytes(self.state), self.state)
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
        return self.submit_many([event])[0]

    def submit_many(self, events: Iterable[Event]) -> list[tuple[Action, ...]]:
        """Journal events in one transaction; return what is to be done about each.

        An event is asked for after the machine has seen the one before it. Where one of them raises, or
        the disk is full, none has happened.
        """
        now, before = self._clock.now(), self.machine
        taken: list[Event] = []
        answers = []
        try:
            for event in events:
                self.machine, actions = step(self.machine, event, now)
                taken.append(event)
                answers.append(actions)
            fault_points.reached("events stepped")
            self._journal.append_many(taken, now)
        except BaseException:
            self.machine = before
            raise
        for event in taken:
            self._remember(event)
            if isinstance(event, RoundEvaluated | RoundUndone):
                self._discard_updates(event.round)
        fault_points.reached("events committed")
        return answers

    def observe(self, *observations: Observation) -> None:
        """Journal measurements."""
        self.submit_many(observations)

    def plan(self, number: int, clients: tuple[str, ...]) -> RoundPlanned:
        """Decide one round."""
        return plan_round(self.config, number, clients, learning_rate_scale(self.state))

    def assignment(self, client: str) -> Assignment:
        """Return what the open round asks of a client."""
        return assignment_of(self.config, self._plans[self.machine.round], client)

    def is_assigned(self, client: str, number: int) -> bool:
        """Whether round `number` is open and waits for this client."""
        slot = self.machine.cohort.get(client)
        open_ = self.machine.phase == "collecting" and self.machine.round == number
        return open_ and slot is not None and slot.status == "assigned"

    def packed_assignment(self, client: str) -> tuple[bytes, Blob]:
        """Return the message that goes to a client, and the model that it names."""
        assignment = self.assignment(client)
        model = self.model(assignment.r)
        return pack_assignment(assignment, model, self.run_id), model

    def download(self, r: int | None = None) -> Download:
        """Return the global model as a client of rank r receives it; none: the full rank."""
        rank = self.config.lora.r if r is None else r
        if rank not in self._downloads:
            self._downloads[rank] = self._method.download(self.state, rank)
        return self._downloads[rank]

    def model(self, r: int | None = None) -> Blob:
        """Return the global model as a blob, whose file is `folder.model_blob`; r as in `download`."""
        rank = self.config.lora.r if r is None else r
        if rank not in self._models:
            content, encoding = pack_model(self.download(rank))
            blob = blob_of(content, encoding)
            file = self.folder.model_blob(blob.sha256)
            if not file.exists():
                write_cache(file, content)
            self._models[rank] = blob
        return self._models[rank]

    def was_accepted(self, client: str, message: bytes) -> bool:
        """Whether this very update is the last one that was accepted from the client."""
        receipt = self.machine.receipts.get(client)
        return receipt is not None and receipt.digest == hashlib.sha256(message).hexdigest()

    def receive(self, client: str, message: bytes) -> UpdateReceived | UpdateRejected:
        """Check what a client sent and keep it on disk; the event goes to `submit`.

        The blob that the message names is in `folder.upload_file`, its hash compared; once the event is
        journalled, that file has done its duty.
        """
        number = self.machine.round
        try:
            blob = update_blob(message)
            tensors = self.folder.upload_file(client, blob.sha256) if blob else None
            if tensors is not None and not tensors.is_file():
                raise UpdateError("its tensors have not been uploaded: upload them first")
            update = unpack_update(message, client, self.run_id, tensors)
            wanted = self._is_wanted(update)
            if wanted:
                self._check(update)
        except UpdateError as error:
            return UpdateRejected(client, number, str(error))
        if wanted and not self._has_accepted(client):
            if tensors is not None:
                link_whole(tensors, self.folder.update_tensors_file(number, client))
                self._compared.add((number, client))
            write_bytes(self.folder.update_file(number, client), message)
            fault_points.reached("update linked")
        return UpdateReceived(
            client=client,
            round=update.round,
            digest=hashlib.sha256(message).hexdigest(),
            bytes=len(message) + (blob.bytes if blob else 0),
            examples=update.examples,
            steps=update.steps,
            metrics=update.metrics,
        )

    def fold(self, number: int, clients: tuple[str, ...]) -> RoundFolded | RoundUndone:
        """Fold a round's updates into the model and write the new state; the event goes to `submit`."""
        return self.take_fold(self.fold_updates(number, clients))

    def fold_updates(self, number: int, clients: tuple[str, ...]) -> Folding:
        """Compute a fold and change nothing: the long half of `fold`, for a thread of its own."""
        plan = self._plans[number]
        learning_rate = self.assignment(clients[0]).learning_rate if plan.plan else 0.0
        folded = self._method.fold(self.state, self._updates(number, clients), learning_rate)
        fault_points.reached("during fold")
        return Folding(number, folded, to_bytes(folded.state))

    def take_fold(self, folding: Folding) -> RoundFolded | RoundUndone:
        """Write the new state and make it the model; the event goes to `submit`."""
        number, folded = folding.round, folding.folded
        if folded.undone:
            self._write(self.folder.undone_file(number), folding.content, folded.state)
            return RoundUndone(
                number, "the clients' losses exploded after the fold before this one"
            )
        self._write(self.folder.state_file(number), folding.content, folded.state)
        digest = hashlib.sha256(folding.content).hexdigest()
        return RoundFolded(number, digest, folded.report)

    def evaluation_is_due(self, number: int) -> bool:
        """Whether the config wants the model measured after this round (0: untouched)."""
        evaluation = self.config.evaluation
        if number == 0:
            return evaluation.before_first_round
        return number % evaluation.every == 0 or number == self.config.rounds

    def measured(self, number: int) -> list[Evaluated]:
        """Return what clients have measured of the model after this round, if it is not concluded."""
        return list(self._measured.get(number, {}).values())

    def conclude(self, number: int, measured: Sequence[Evaluated]) -> RoundEvaluated | RoundUndone:
        """Undo the round if its fold broke the model, else save what is due; the event goes to `submit`.

        measured: of as many clients as could be asked; empty where no evaluation was due.
        """
        # The median: one client that says its loss is infinite must not undo everybody's round.
        loss = _median_loss(measured)
        if number and loss is not None and (undone := self.undo_if_exploded(number, loss)):
            return undone
        if self.adapter_is_due(number):
            self.save_adapter(number)
        return RoundEvaluated(number, _means(measured))

    def undo_if_exploded(self, number: int, loss: float) -> RoundUndone | None:
        """Roll the round's fold back where the held-out loss shows that it broke the model."""
        limit = self.config.seeds.guard_loss_factor * self._best_held_out_loss
        if self.config.method != "seeds" or (math.isfinite(loss) and loss <= limit):
            return None
        state = undo(self.state)
        self._write(self.folder.undone_file(number), to_bytes(state), state)
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

    def tidy(self) -> None:
        """Remove what only a run that goes on needs: models to download, uploads, updates."""
        for folder in (self.folder.models, self.folder.path / "uploads"):
            shutil.rmtree(folder, ignore_errors=True)
        for outcome in self.machine.outcomes:
            self._discard_updates(outcome.round)

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
            of_clients = _median_loss(self.measured(event.round))
            loss = event.metrics.get("loss", math.inf) if of_clients is None else of_clients
            self._best_held_out_loss = min(self._best_held_out_loss, loss)
            self._measured.clear()
        elif isinstance(event, Evaluated):
            self._measured.setdefault(event.round, {})[event.client] = event
        elif isinstance(event, RoundFolded):
            self._measured.clear()

    def _discard_updates(self, number: int) -> None:
        """Remove what clients sent in a round that is over: the model has it, and it is theirs."""
        self._compared = {each for each in self._compared if each[0] != number}
        if not self.config.output.keep_updates:
            shutil.rmtree(self.folder.round_dir(number) / "updates", ignore_errors=True)

    def _is_wanted(self, update: Update) -> bool:
        plan = self._plans.get(self.machine.round)
        return plan is not None and update.client in plan.plan and update.round == plan.round

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

    def _updates(self, number: int, clients: tuple[str, ...]) -> Iterator[Update]:
        """Yield the accepted updates; tensors stay on disk, so memory does not grow with the clients."""
        for client in clients:
            file = self.folder.update_file(number, client)
            message = read_bytes(file)
            if hashlib.sha256(message).hexdigest() != self.machine.receipts[client].digest:
                raise _changed(file)
            blob = update_blob(message)
            tensors = self.folder.update_tensors_file(number, client) if blob else None
            if blob and tensors and not self._is_unchanged(number, client, tensors, blob):
                raise _changed(tensors)
            yield unpack_update(message, client, self.run_id, tensors)

    def _is_unchanged(self, number: int, client: str, tensors: Path, blob: Blob) -> bool:
        # What this process has received was hashed on its way in; what an earlier one has is looked at.
        known = (number, client) in self._compared
        return tensors.is_file() and (known or sha256_of(tensors) == blob.sha256)

    def _write(self, file: Path, content: bytes, state: State) -> None:
        write_bytes(file, content)
        fault_points.reached("state written")
        self.state = state
        self._downloads.clear()
        self._models.clear()
        shutil.rmtree(self.folder.models, ignore_errors=True)

    def _last_state(self) -> State:
        """Return the state that the journal says is the newest."""
        machine: RunState = self.machine
        if machine.phase == "evaluating" and machine.round > 0:
            return read_state(self.folder.state_file(machine.round))
        for outcome in reversed(machine.outcomes):
            if outcome.ending in ("folded", "undone"):
                return read_state(self.folder.model_file(outcome.round))
        return self._method.init(self.space.initial(self.config.seed))


def _median_loss(measured: Sequence[Evaluated]) -> float | None:
    losses = [
        math.inf if math.isnan(each.loss) else each.loss
        for each in measured
        if each.loss is not None
    ]
    return statistics.median(losses) if losses else None


def _means(measured: Sequence[Evaluated]) -> Mapping[str, float]:
    """Return the unweighted means over the clients, of what was measured."""
    return {
        metric: sum(values) / len(values)
        for metric in METRICS
        if (values := [v for each in measured if (v := getattr(each, metric)) is not None])
    }


def _changed(file: Path) -> RunFolderError:
    return RunFolderError(
        f"{file} is not the update that was accepted: the run folder was changed. Start a new run"
    )
