"""The exchanges of a run's rounds: what is asked, what is answered, and what the answers have come to.

Answers lie on the disk until their round is over, so that a crash loses none; what they have come to is
made of them again where a crash was faster than its event.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import (
    TRAINING,
    AnswerReceived,
    BytesMoved,
    Event,
    ExchangeCombined,
    RoundPlanned,
    UpdateRejected,
)
from antiphon.core.files import write_bytes
from antiphon.core.run_folder import RunFolder, read_bytes
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import Assignment, State
from antiphon.server.machine.actions import Combine
from antiphon.server.machine.run_state import RunState, may_deliver, updated
from antiphon.strategies.exchanges.exchange import Exchange, SoFar


class RunFacts(Protocol):
    """What exchanges are told of a run beside their answers, whenever it is asked: see SoFar."""

    @property
    def run_id(self) -> str:
        """Its name on the wire."""
        ...

    @property
    def machine(self) -> RunState:
        """Its round machine's state."""
        ...

    @property
    def global_model(self) -> Models:
        """What gives the model of a round."""
        ...

    def asked(self, base: int, client: str) -> Assignment:
        """Return an assignment of round `base`, but for what its exchanges have told."""
        ...


class Models(Protocol):
    """What gives the model of a round."""

    def sha256_before(self, base: int) -> str:
        """Return the hash of the model from which round `base` starts, hex."""
        ...


class Exchanges:
    """A run's exchanges but measuring, on the server's side."""

    def __init__(
        self,
        folder: RunFolder,
        listed: Sequence[Exchange],
        shapes: SpaceShapes,
        facts: RunFacts,
        *,
        sync: bool,
    ) -> None:
        """listed: as the method names them; shapes: see SoFar; sync: what is kept outlives a power cut."""
        self._folder, self._shapes, self._sync = folder, shapes, sync
        self._facts = facts
        self._by_name = {each.name: each for each in listed}
        self._cohorts: dict[int, tuple[str, ...]] = {}
        self._digests: dict[tuple[int, str], str] = {}
        self._known: dict[tuple[int, str], State] = {}
        self._settled: dict[str, int] = {}
        self._told: set[str] = set()

    def hear(self, event: Event) -> None:
        """Take one event of the journal in."""
        match event:
            case RoundPlanned():
                self._cohorts[event.round] = tuple(sorted(event.cohort))
            case BytesMoved(purpose="frames"):
                self._told.add(event.client)
            case ExchangeCombined():
                self._digests[event.round, event.exchange] = event.digest
                if self._by_name[event.exchange].lasting:
                    self._settled[event.exchange] = event.round

    @property
    def settled(self) -> tuple[str, ...]:
        """The exchanges that need not be asked any more: what they have come to holds."""
        return tuple(self._settled)

    @property
    def lasting(self) -> State:
        """What they have come to, all together. Raises RunFolderError where a file is not what it was."""
        return {
            name: array
            for exchange, number in self._settled.items()
            for name, array in self._come_to(number, exchange).items()
        }

    def has_frames(self, client: str) -> bool:
        """Whether a client has received `lasting`."""
        return client in self._told

    def told(self, number: int, client: str) -> State:
        """Return what goes to a client beside its assignment of round `number`."""
        return self._by_name[TRAINING].ask(self._so_far(number, TRAINING), client)

    def known(self, number: int) -> dict[str, State]:
        """Return what a round's exchanges have come to, by name. Raises RunFolderError, see `lasting`."""
        names = [each for each in self._by_name if each != TRAINING]
        rounds = {each: self._settled.get(each, number) for each in names}
        return {
            each: self._come_to(of, each)
            for each, of in rounds.items()
            if (of, each) in self._digests
        }

    def ask(self, machine: RunState, client: str) -> bytes:
        """Return the question of the exchange that is open, as it travels to a client."""
        name, number = machine.exchange, machine.round
        return to_bytes(self._by_name[name].ask(self._so_far(number, name), client))

    def most_bytes(self, exchange: str) -> int:
        """Return how many bytes an answer may have. Raises UpdateError for an unknown exchange."""
        return self._named(exchange).most_bytes

    def receive(
        self, machine: RunState, client: str, number: int, exchange: str, message: bytes
    ) -> AnswerReceived | UpdateRejected:
        """Check an answer and keep it on the disk; the event goes to `Federation.submit`."""
        digest = hashlib.sha256(message).hexdigest()
        if may_deliver(machine, client, number, exchange) and machine.round == number:
            try:
                self._check(number, client, exchange, message)
            except UpdateError as error:
                return UpdateRejected(client, number, str(error), exchange)
            file = self._folder.answer_file(number, exchange, client)
            write_bytes(file, message, sync=self._sync)
        return AnswerReceived(client, number, exchange, digest, len(message))

    def combine(self, machine: RunState, action: Combine) -> ExchangeCombined:
        """Bring the answers to an exchange together, and keep what they have come to.

        Raises RunFolderError where an answer is not the one that was accepted.
        """
        number, exchange = action.round, action.exchange
        digests = machine.answers[exchange]
        answers = {each: self._answer(number, exchange, each, digests) for each in action.clients}
        combine = self._by_name[exchange].combine
        known = combine(self._so_far(number, exchange), answers)
        content = to_bytes(known)
        write_bytes(self._file(number, exchange), content, sync=self._sync)
        self._known[number, exchange] = known
        return ExchangeCombined(number, exchange, hashlib.sha256(content).hexdigest())

    def discard(self, number: int) -> None:
        """Forget a round that is over: what clients answered is theirs."""
        shutil.rmtree(self._folder.answers(number), ignore_errors=True)
        self._known = {
            key: each
            for key, each in self._known.items()
            if key[0] != number or self._by_name[key[1]].lasting
        }

    def _so_far(self, number: int, exchange: str) -> SoFar:
        names = list(self._by_name)
        before = [each for each in names[: names.index(exchange)] if each != TRAINING]
        known = {each: self._come_to(self._settled.get(each, number), each) for each in before}
        facts, cohort = self._facts, self._cohorts[number]
        trained = updated(facts.machine) if TRAINING in names[: names.index(exchange)] else ()
        return SoFar(
            number,
            cohort,
            known,
            self._shapes,
            facts.run_id,
            trained,
            tuple(facts.machine.clients[each].examples for each in cohort),
            lambda: facts.global_model.sha256_before(number),
            lambda client: facts.asked(number, client),
        )

    def _file(self, number: int, exchange: str) -> Path:
        lasting = self._by_name[exchange].lasting
        folder = self._folder
        return folder.lasting_file(exchange) if lasting else folder.known_file(number, exchange)

    def _come_to(self, number: int, exchange: str) -> State:
        if (number, exchange) not in self._known:
            content = read_bytes(self._file(number, exchange))
            if hashlib.sha256(content).hexdigest() != self._digests[number, exchange]:
                raise _changed(f"what the exchange {exchange} of round {number} has come to")
            self._known[number, exchange] = from_bytes(content)
        return self._known[number, exchange]

    def _answer(self, number: int, exchange: str, client: str, digests: Mapping[str, str]) -> State:
        content = read_bytes(self._folder.answer_file(number, exchange, client))
        if hashlib.sha256(content).hexdigest() != digests[client]:
            raise _changed(f"the answer of {client} to the exchange {exchange} of round {number}")
        return from_bytes(content)

    def _check(self, number: int, client: str, exchange: str, message: bytes) -> None:
        asked = self._named(exchange)
        if len(message) > asked.most_bytes:
            raise UpdateError(f"{len(message)} bytes, expected {asked.most_bytes} at most")
        asked.check(self._so_far(number, exchange), client, from_bytes(message))

    def _named(self, exchange: str) -> Exchange:
        if exchange == TRAINING or exchange not in self._by_name:
            raise UpdateError(f"no exchange {exchange[:64]!r} is answered in this run")
        return self._by_name[exchange]


def _changed(what: str) -> RunFolderError:
    return RunFolderError(f"{what} is not what it was: the run folder was changed. Start a new run")
