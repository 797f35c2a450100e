"""The server's side of a run, whatever the engine: journal, round machine, updates on disk, the model.

An engine (simulation, gRPC, Flower) gives events to `submit` and lets `perform` do what comes back:
planning, checking, folding and saving are done here, so that they are the same everywhere. A crash at any
line is repaired by replay: `submit` writes the event to the journal before anybody acts on it.

One thread at a time may use a federation; only `fold_updates` may run beside the others.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from antiphon.core import fault_points
from antiphon.core.blob import Blob
from antiphon.core.clock import Clock
from antiphon.core.config import RunConfig, config_hash
from antiphon.core.content import Content
from antiphon.core.errors import UpdateError
from antiphon.core.events import (
    Evaluated,
    Event,
    Observation,
    PhaseTimed,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunStarted,
    RunStopped,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.files import remove_parts
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import to_content
from antiphon.core.types import Assignment, Package, State, Update
from antiphon.core.wire import pack_assignment, unpack_update, update_blob
from antiphon.server.folding.exchanges import Exchanges
from antiphon.server.folding.global_model import GlobalModel
from antiphon.server.folding.held_out import means, median_loss
from antiphon.server.folding.measured import Measured
from antiphon.server.folding.untold import usual_examples
from antiphon.server.folding.update_shelf import Unpack, UpdateShelf, built
from antiphon.server.machine.actions import Action, Combine, Conclude, Finish, Fold, PlanRound
from antiphon.server.machine.round import step
from antiphon.server.machine.run_state import RunState, slot_of, slots
from antiphon.server.planning.agreement import claim_of
from antiphon.server.planning.due import adapter_is_due, measuring_of
from antiphon.server.planning.plans import assignment_of, check_exchanges, fewest_folded, plan_round
from antiphon.server.planning.resumed import check_same_space, resumed
from antiphon.server.planning.telemetry import Accumulator
from antiphon.strategies.compression.codec import Shapes
from antiphon.strategies.fold import Context, Folded
from antiphon.strategies.guard import learning_rate_scale, undo
from antiphon.strategies.methods.method import method_of

MAX_FAILED_ROUNDS = 3


@dataclass(frozen=True)
class Folding:
    """A fold that has been computed and is not yet taken.

    content: of the new state's file; began: real seconds, of any zero.
    """

    round: int
    folded: Folded
    content: Content
    began: float


class Federation:
    """One run's server side. The engine owns the clock and the clients."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        journal: Journal,
        space: SpaceShapes,
        clock: Clock,
        from_round: int | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
        secret: bytes = b"",
    ) -> None:
        """Take the run up where its journal ends; an empty journal is a new run.

        from_round: whose model to go on with where a newer one is damaged; stopwatch: real seconds, for
        the time by phase; secret: see fold.Context. Raises RunFolderError where the newest is damaged and
        no round is given, and the other way round; ConfigError for exchanges that the config's rounds
        cannot have.
        """
        self.config, self.folder, self.space = config, folder, space
        self._journal, self._clock, self._stopwatch = journal, clock, stopwatch
        self._secret = secret
        self._roles = method_of(config)
        self._method = self._roles.serve()
        check_exchanges(config)
        self.machine = RunState()
        listed = self._roles.every_exchange
        self.exchanges = Exchanges(folder, listed, space, self, sync=journal.sync)
        self._plans: dict[int, RoundPlanned] = {}
        self._measured = Measured()
        self.global_model = GlobalModel(config, folder, space, self._method, self.exchanges)
        self._telemetry = Accumulator()
        for entry in journal.read():
            self.machine, _ = step(self.machine, entry.event, entry.at_s)
            self._remember(entry.event, entry.at_s)
        check_same_space(self.machine.run, space, folder)
        keep, masked = config.output.keep_updates, self._roles.secure is not None
        self._sent = UpdateShelf(folder, keep=keep, sync=journal.sync, masked=masked)
        shutil.rmtree(folder.models, ignore_errors=True)  # written without a sync: may be torn
        remove_parts(
            folder.path
        )  # of a process that was killed: it is gone, says the journal's lock
        self._rewinding = self.global_model.take_up(from_round)
        self._measuring_since = self._stopwatch()

    def start(self, min_clients: int, *, clock_stood: bool = False) -> tuple[Action, ...]:
        """Begin the run, or resume it; return the first actions. clock_stood: see RunResumed."""
        everyone = self._telemetry.telemetry(0, self._clock.now()).run.simulated
        if self.machine.phase != "new":
            again = resumed(self.config, self.machine, clock_stood, everyone=everyone)
            # What the first would have done is of the rounds that the second takes back.
            return self.submit_many(
                [again] if self._rewinding is None else [again, self._rewinding]
            )[-1]
        self._write(0, self.folder.state_file(0), to_content(self.state), self.state)
        return self.submit(
            RunStarted(
                run_id=self.run_id,
                config_hash=config_hash(self.config),
                rounds=self.config.rounds,
                min_clients=min_clients,
                max_failed_rounds=MAX_FAILED_ROUNDS,
                fewest=fewest_folded(self.config, min_clients),
                space=claim_of(self.space),
                measuring=measuring_of(self.config, 0, everyone=everyone),
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
            self._remember(event, now)
            if isinstance(event, RoundEvaluated | RoundUndone):
                self._discard_folded(event.round)
        for ended in self.machine.outcomes[len(before.outcomes) :]:
            self.exchanges.discard(ended.round)
        if self.machine.phase == "evaluating" != before.phase:
            self._measuring_since = self._stopwatch()
        fault_points.reached("events committed")
        return answers

    def observe(self, *observations: Observation) -> None:
        """Journal measurements."""
        self.submit_many(observations)

    def perform(self, action: Action) -> tuple[Event, ...]:
        """Do the server's part of an action; the events go to `submit_many`.

        It plans a round, combines answers, folds a round, concludes it, or saves the last adapter. The rest
        is the engine's: it delivers what `packed_assignment`, `exchanges` and `model` give, calls clients
        off, and keeps time.
        """
        match action:
            case PlanRound():
                plan = self.plan(action.round, action.clients, action.busy, action.on_trial)
                return (plan,)
            case Fold():
                return self.take_fold(self.fold_updates(action.round, action.clients))
            case Combine():
                return (self.exchanges.combine(self.machine, action),)
            case Conclude():
                return self.conclude(action.round)
            case Finish():
                self.global_model.save_last_adapter(self.machine.outcomes)
        return ()

    def plan(
        self,
        number: int,
        clients: tuple[str, ...],
        busy: tuple[str, ...] = (),
        on_trial: tuple[str, ...] = (),
    ) -> RoundPlanned | RunStopped:
        """Decide one round, or that the run ends before it; the event goes to `submit`."""
        telemetry = self._telemetry.telemetry(number, self._clock.now())
        scale, settled = learning_rate_scale(self.state), self.exchanges.settled
        return plan_round(
            self.config, number, clients, scale, telemetry, busy, self.space, on_trial, settled
        )

    def assignment(self, client: str) -> Assignment:
        """Return what a client is to do: in the open round, or still in the one in which it began."""
        slot = slot_of(self.machine, client)
        base = slot.base if slot else self.machine.round
        asked = self.asked(base, client)
        told = self.exchanges.told(base, client)
        return replace(asked, upload_bytes=self._upload_bytes(asked), told=told)

    def asked(self, base: int, client: str) -> Assignment:
        """Return an assignment of round `base`, but for `upload_bytes` and `told`."""
        folded = self.machine.folded.get(client, 0)
        return assignment_of(self.config, self._plans[base], client, folded)

    def _upload_bytes(self, asked: Assignment) -> int:
        parameters = self._roles.space.trained(self.space) * asked.r // self.config.lora.r
        role = self._roles.role(asked.method)
        return int(role.travels.size(parameters, built(asked.codec), asked.steps))

    def expected_upload_bytes(self, client: str, number: int) -> int:
        """Return about how many bytes a client's update of round `number` has.

        At most, where that is not known.
        """
        plan = self._plans.get(number)
        if plan is None or client not in plan.plan:
            return 4 * self._roles.space.trained(self.space)
        return self._upload_bytes(assignment_of(self.config, plan, client))

    def packed_assignment(self, client: str) -> tuple[bytes, Blob]:
        """Return the message that goes to a client, and the model that it names."""
        asked, known = self.assignment(client), self.global_model
        model = known.blob_before(asked.round, asked.r)
        change = known.change_before(asked.round, asked.r)
        assignment = replace(asked, frames=known.frames(), change=change)
        return pack_assignment(assignment, model, self.run_id), model

    @property
    def state(self) -> State:
        """The model's state: after the newest fold, or as the run was taken up."""
        return self.global_model.state

    def download(self, r: int | None = None) -> Package:
        """Return the global model as a client of rank r receives it; none: the full rank."""
        return self.global_model.download(r)

    def model(self, r: int | None = None) -> Blob:
        """Return the global model as a blob, whose file is `folder.model_blob`; r as in `download`."""
        return self.global_model.blob(r)

    def was_accepted(self, client: str, message: bytes) -> bool:
        """Whether this very update is the last one that was accepted from the client."""
        receipt = self.machine.receipts.get(client)
        return receipt is not None and receipt.digest == hashlib.sha256(message).hexdigest()

    def receive(self, client: str, message: bytes) -> UpdateReceived | UpdateRejected:
        """Check what a client sent and keep it on disk; the event goes to `submit`.

        The blob that the message names is in `folder.upload_file`, its hash compared; once the event is
        journalled, that file has done its duty.
        """
        slot = slot_of(self.machine, client)
        number = slot.base if slot else self.machine.round
        try:
            blob = update_blob(message)
            tensors = self.folder.upload_file(client, blob.sha256) if blob else None
            if tensors is not None and not tensors.is_file():
                raise UpdateError("its tensors have not been uploaded: upload them first")
            update = unpack_update(message, client, self.run_id)
            wanted = self._is_wanted(update)
            if wanted:
                form = self._roles.role(self.asked(number, client).method).travels
                form.check_carriage(client, has_blob=blob is not None)
                unpack = self._unpack(number, client)
                unpacked = unpack(blob, tensors) if blob and tensors else None
                self._check(unpack_update(message, client, self.run_id, unpacked))
        except UpdateError as error:
            return UpdateRejected(client, number, str(error))
        if wanted and not self._has_accepted(client, number):
            self._sent.put(number, client, message, tensors)
        return UpdateReceived(
            client=client,
            round=update.round,
            digest=hashlib.sha256(message).hexdigest(),
            bytes=len(message) + (blob.bytes if blob else 0),
            examples=update.examples,
            steps=update.steps,
            metrics=update.metrics,
        )

    def fold_updates(self, number: int, clients: tuple[str, ...]) -> Folding:
        """Compute a fold and change nothing: the long half of it, for a thread of its own."""
        began = self._stopwatch()
        rate, known = self._learning_rate(clients[0]), self.exchanges.known(number)
        context = Context(number, rate, self._secret, known)
        folded = self._method.fold(self.state, self._updates(number, clients), context)
        fault_points.reached("during fold")
        return Folding(number, folded, to_content(folded.state), began)

    def take_fold(self, folding: Folding) -> tuple[Event, ...]:
        """Write the new state and make it the model; the events go to `submit_many`."""
        number, folded, content = folding.round, folding.folded, folding.content
        folded_or_undone: Event
        if folded.undone:
            digest = self._write(number, self.folder.undone_file(number), content, folded.state)
            why = folded.reason or "the clients' losses exploded after the fold before this one"
            folded_or_undone = RoundUndone(number, why, digest)
        else:
            digest = self._write(number, self.folder.state_file(number), content, folded.state)
            folded_or_undone = RoundFolded(number, digest, folded.report, folded.held_back)
        return self._timed(number, "fold", folding.began), folded_or_undone

    def conclude(self, number: int) -> tuple[Event, ...]:
        """Take together what was measured of the model after a round; the events go to `submit_many`."""
        measured = self._measured.of(number)
        since = self._measuring_since
        taken = [self._timed(number, "evaluation", since)] if measured else []
        began = self._stopwatch()
        concluded = self._concluded(number, measured)
        return (*taken, self._timed(number, "saving", began), concluded)

    def _concluded(
        self, number: int, measured: Sequence[Evaluated]
    ) -> RoundEvaluated | RoundUndone:
        """Undo the round if its fold broke the model, else save what is due."""
        # The median: one client that says its loss is infinite must not undo everybody's round.
        loss = median_loss(measured)
        if number and loss is not None and (undone := self.undo_if_exploded(number, loss)):
            return undone
        if adapter_is_due(self.config, number):
            self.global_model.save_adapter(number)
        return RoundEvaluated(number, means(measured))

    def undo_if_exploded(self, number: int, loss: float) -> RoundUndone | None:
        """Roll the round's fold back where the held-out loss shows that it broke the model."""
        limit = self.config.seeds.guard_loss_factor * self._measured.best_loss()
        if not self._roles.guarded or (math.isfinite(loss) and loss <= limit):
            return None
        state = undo(self.state)
        digest = self._write(number, self.folder.undone_file(number), to_content(state), state)
        return RoundUndone(number, f"the held-out loss rose to {loss:.3g} nats per token", digest)

    def tidy(self) -> None:
        """Remove what only a run that goes on needs: models to download, uploads, updates."""
        for folder in self.folder.passing:
            shutil.rmtree(folder, ignore_errors=True)
        for outcome in self.machine.outcomes:
            self._sent.discard(outcome.round)
            self.exchanges.discard(outcome.round)

    def _timed(self, number: int, phase: str, began: float) -> PhaseTimed:
        return PhaseTimed(number, phase, self._stopwatch() - began)

    def _remember(self, event: Event, at_s: float) -> None:
        self._telemetry.hear(event, at_s)
        self._measured.hear(event)
        self.global_model.hear(event)
        self.exchanges.hear(event)
        if isinstance(event, RoundPlanned):
            self._plans[event.round] = event

    def _discard_folded(self, number: int) -> None:
        """Remove what the round has folded that is over now: the model has it, and it is theirs."""
        folded = self.machine.outcomes[-1].accepted if number else ()
        began = {number, *(self.machine.receipts[each].round for each in folded)}
        for base in began - {slot.base for slot in slots(self.machine).values()}:
            self._sent.discard(base)

    def _is_wanted(self, update: Update) -> bool:
        slot = slot_of(self.machine, update.client)
        if slot is None or update.client not in self._plans[slot.base].plan:
            return False
        return slot.base == update.round

    def _check(self, update: Update) -> None:
        held = self.machine.clients[update.client].examples
        if update.examples != held:
            raise UpdateError(
                f"client {update.client} counts {update.examples} examples, it joined with {held}: its "
                "weight in the mean is what it joined with"
            )
        self._method.check(self.state, update, self.assignment(update.client))

    def _has_accepted(self, client: str, base: int) -> bool:
        receipt = self.machine.receipts.get(client)
        return receipt is not None and receipt.round == base

    def _learning_rate(self, client: str) -> float:
        """Return the rate of the assignment whose update was accepted last from a client."""
        task = self._plans[self.machine.receipts[client].round].plan.get(client, {})
        return float(task.get("learning_rate") or 0.0)

    def _updates(self, number: int, clients: tuple[str, ...]) -> Iterator[Update]:
        """Yield the accepted updates; tensors stay on disk, so memory does not grow with the clients."""
        usual = usual_examples(self.machine.clients[each].examples for each in clients)
        for client in clients:
            receipt = self.machine.receipts[client]
            base, unpack = receipt.round, self._unpack(receipt.round, client)
            message, tensors = self._sent.get(base, client, receipt.digest, unpack)
            update = unpack_update(message, client, self.run_id, tensors)
            form = self._roles.role((asked := self.asked(base, client)).method).travels
            examples, rate = update.examples or usual, self._learning_rate(client)
            update = replace(update, examples=examples, staleness=number - base, learning_rate=rate)
            payload = Package(form.kind, update.payload.arrays)
            yield form.completed(replace(update, payload=payload), asked)

    def _unpack(self, base: int, client: str) -> Unpack:
        """Return what reads the tensors of an update that began in round `base`."""
        asked = self.asked(base, client)

        def shapes() -> Shapes:
            return {name: value.shape for name, value in self.download(asked.r).arrays.items()}

        def unpack(blob: Blob, file: Path) -> State:
            return self._sent.unpacked(base, client, blob, file, asked.codec, shapes)

        return unpack

    def _write(self, number: int, file: Path, content: Content, state: State) -> str:
        """Write a state and make it the model; return the file's hex SHA-256."""
        begun = [slot.base for slot in slots(self.machine).values()]
        return self.global_model.write(number, file, content, state, begun)
