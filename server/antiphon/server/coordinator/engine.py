"""The engine of real runs: the round machine on a clock that nobody can set, clients on a network.

It knows nothing of gRPC: the service translates. All methods belong to one event loop; whatever touches
the journal or the model runs in the federation's own thread, a fold beside it in another.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from antiphon.core.clock import Clock
from antiphon.core.errors import AntiphonError, ProtocolError, UpdateError
from antiphon.core.events import (
    MEASURING,
    TRAINING,
    AnswerReceived,
    BytesMoved,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    Evaluated,
    Event,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.wire import round_of, update_blob
from antiphon.server.coordinator.desk import (
    Answering,
    Desk,
    InHand,
    Measuring,
    Task,
    Training,
    Withdrawn,
)
from antiphon.server.coordinator.expected import most_upload_bytes
from antiphon.server.coordinator.leases import Leases
from antiphon.server.coordinator.log_lines import say
from antiphon.server.coordinator.submissions import Ended, Source, Submissions, Submitted
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import (
    Action,
    Assign,
    CancelAssignment,
    Combine,
    Conclude,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.machine.round import next_deadline
from antiphon.server.machine.run_state import (
    RunState,
    is_assigned,
    is_wanted,
    may_deliver,
    present,
    slot_of,
)

log = structlog.get_logger()
T = TypeVar("T")

_TICK_S = 0.25
_MAX_REASON = 500
_LINGER_S = 20.0  # for clients that are training what nobody waits for


PollAnswer = Task | Withdrawn | Finish | None


class _CountsAlready(AntiphonError):
    """This very update has been accepted before."""


class _NotAwaited(AntiphonError):
    """Nobody waits for this client's measurement, or that it fails."""


class Engine:
    """One run, from its first open round to the end. `run` drives it; the rest are the clients' calls.

    The event loop sees `machine`; the federation itself belongs to its own thread.
    """

    def __init__(
        self, federation: Federation, clock: Clock, leases: Leases, thread: Executor
    ) -> None:
        """thread: of one worker; nobody else may use the federation."""
        self.federation, self.leases = federation, leases
        self.folder, self.space = federation.folder, federation.space
        self._clock, self._thread = clock, thread
        self.desk = Desk()
        self.in_hand: dict[str, InHand] = {}
        self.over: Finish | None = None
        self.draining = False
        self.may_plan: Callable[[], str | None] = lambda: None
        self.on_verdict: Callable[[str], None] = lambda verdict: None
        self._told: set[str] = set()
        self._actions: asyncio.Queue[Action] = asyncio.Queue()
        self._submissions = Submissions(federation, thread, self._take)

    @property
    def machine(self) -> RunState:
        """The machine's state as the journal has it: what is not committed has not happened."""
        return self._submissions.machine

    async def run(self, min_clients: int) -> Finish:
        """Begin or resume, and work until the run is over and its clients know.

        Raises RunFolderError where the disk does not take the journal: a coordinator that cannot write
        must not go on.
        """
        for member in present(self.machine):
            self.leases.touch(member)  # the time without a coordinator is not held against them
        self._take(await self._in_thread(partial(self._submissions.start, min_clients)))
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._submissions.run()),
                    tasks.create_task(self._watch_the_clock()),
                ]
                finish = await self._work()
                await self._everyone_told(_LINGER_S)
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return finish

    def drain(self) -> None:
        """Answer the calls that wait, and hold no more."""
        self.draining = True
        self.desk.wake_all()

    async def join(self, client: str, examples: int) -> None:
        """Take a client in, or again."""
        self.leases.touch(client)
        await self._submissions.submit(lambda: ClientJoined(client, examples))
        log.info("client joined", client=client, examples=examples)

    async def leave(self, client: str, reason: str) -> None:
        """A client takes no part from now on."""
        self.leases.forget(client)
        await self._gone(client, reason or "it said goodbye")

    def revoke(self, clients: Iterable[str]) -> None:
        """The operator has revoked these; whoever is no member, or is known to be, is passed over."""
        members = self.machine.clients
        for client in (each for each in clients if each in members and not members[each].revoked):
            self.leases.forget(client)
            self._let_go(client, "its certificate is revoked")
            self.note(ClientRevoked(client))

    @property
    def round(self) -> int:
        """The round in work."""
        return self.machine.round

    def is_member(self, client: str) -> bool:
        """Whether the client has joined this run."""
        return client in self.machine.clients

    async def next_task(self, client: str, wait_s: float, in_hand: InHand | None) -> PollAnswer:
        """Return what a member is to do; wait for it up to `wait_s`, or the lease's share of that."""
        self.leases.touch(client)
        if in_hand is not None:
            self.in_hand[client] = in_hand
        else:
            self.in_hand.pop(client, None)
        member = self.machine.clients[client]
        if not member.present and self.over is None:  # its lease had run out, or it had left
            await self.join(client, member.examples)
        until = time.monotonic() + min(wait_s, self.leases.hold_s)
        while True:
            answer = self._answer(client, in_hand)
            left = until - time.monotonic()
            if answer is not None or left <= 0 or self.draining:
                return answer
            if not await self.desk.changed(client, left):
                return None  # the client has called again

    async def most_upload_bytes(self, client: str, number: int) -> int:
        """Return how many bytes a client's update of round `number` may have on the wire."""
        return await self._in_thread(partial(most_upload_bytes, self.federation, client, number))

    async def update(self, client: str, message: bytes) -> Reply:
        """Hand in a client's update; it is in the journal when this returns."""
        try:
            return await self._replied(client, partial(self._received, client, message))
        except _CountsAlready:
            self.on_verdict("duplicate")
            return Reply(client, self.machine.round, "duplicate")

    async def refuse(self, client: str, reason: str) -> Reply:
        """Refuse a client's update, whatever round it is for."""
        return await self._replied(client, lambda: self._refusal(client, reason))

    def _refusal(self, client: str, reason: str) -> UpdateRejected:
        machine = self.machine
        slot = slot_of(machine, client)
        return UpdateRejected(client, slot.base if slot else machine.round, reason)

    async def _replied(self, client: str, source: Source) -> Reply:
        submitted = await self._submissions.submit(source)
        for action in submitted.actions:
            if isinstance(action, Reply) and action.client == client:
                log.info(
                    "update", client=client, round=action.round, verdict=action.verdict,
                    reason=action.reason, exchange=action.exchange,
                )  # fmt: skip
                self.on_verdict(action.verdict)
                self._take_back(action)  # the engine's own task may be long at something else
                return action
        raise ProtocolError(f"the machine did not answer {submitted.event}")

    def _received(self, client: str, message: bytes) -> UpdateReceived | UpdateRejected:
        # In the federation's thread: the answer waits for the commit of the copy that counts.
        if self.federation.was_accepted(client, message):
            raise _CountsAlready
        event = self._unasked(client, message) or self.federation.receive(client, message)
        if isinstance(event, UpdateRejected):  # its reason may hold the names that a peer has sent
            return replace(event, reason=event.reason[:_MAX_REASON])
        return event

    def _unasked(self, client: str, message: bytes) -> UpdateReceived | None:
        """Return an update whose blob nobody has asked for: the machine judges it by its round alone."""
        with suppress(UpdateError):
            if update_blob(message) and not self.waits_for(client, message):
                digest = hashlib.sha256(message).hexdigest()
                size = len(message)
                return UpdateReceived(client, round_of(message), digest, size, examples=0, steps=0)
        return None

    async def measured(self, measured: Evaluated) -> bool:
        """Take a client's measurement; False where nobody waits for it."""
        self.desk.clear(measured.client, MEASURING, measured.round)
        return await self._awaited(measured)

    async def answer(self, client: str, number: int, exchange: str, message: bytes) -> Reply:
        """Hand in a client's answer to an exchange; it is on the disk and journalled when this returns."""

        def received() -> AnswerReceived | UpdateRejected:
            federation = self.federation
            digest = federation.machine.answers.get(exchange, {}).get(client)
            if number == federation.machine.round and digest == hashlib.sha256(message).hexdigest():
                raise _CountsAlready
            event = federation.exchanges.receive(
                federation.machine, client, number, exchange, message
            )
            if isinstance(event, UpdateRejected):
                return replace(event, reason=event.reason[:_MAX_REASON])
            return event

        try:
            return await self._replied(client, received)
        except _CountsAlready:
            return Reply(client, number, "duplicate", exchange=exchange)

    async def failed(self, client: str, number: int, exchange: str, reason: str) -> None:
        """A client cannot do its task."""
        log.warning("client failed", client=client, round=number, reason=reason)
        self.desk.take_back(client, exchange, number)
        event = ClientFailed(client, number, reason, exchange)
        if exchange == MEASURING:
            await self._awaited(event)
        else:
            await self._submissions.submit(lambda: event)

    async def _awaited(self, event: Evaluated | ClientFailed) -> bool:
        """Journal what a client says of its measuring, where that is waited for; False: it is not."""

        def source() -> Event:
            if is_assigned(self.federation.machine, event.client, event.round, MEASURING):
                return event
            raise _NotAwaited

        try:
            await self._submissions.submit(source)
        except (_NotAwaited, Ended):
            return False
        return True

    def seconds_left(self, deadline: float) -> float:
        """Return how long it is until a deadline of this engine's clock, seconds."""
        return deadline - self._clock.now()

    def waits_for(self, client: str, message: bytes) -> bool:
        """Whether an update may still count: its client has a part, and no other has been accepted."""
        return may_deliver(self.machine, client, round_of(message))

    def note(self, event: Event) -> None:
        """Journal an observation, soon."""
        self._note(lambda: event)

    def moved(self, client: str, direction: str, purpose: str, size: int) -> None:
        """Note bytes that a client's transfer has moved."""
        number = self.machine.round
        self.note(BytesMoved(number, client, "up" if direction == "up" else "down", purpose, size))

    def _answer(self, client: str, in_hand: InHand | None) -> PollAnswer:
        if self.over is not None:
            self._told.add(client)
            return self.over
        task = self.desk.task_of(client)
        if task and not is_assigned(self.machine, client, task.round, task.exchange):
            task = None  # it was put there while its client left
        if in_hand is None:
            return task
        if in_hand.exchange != TRAINING:
            wanted = is_wanted(self.machine, client, in_hand.round, in_hand.exchange)
        else:  # the desk may lag behind: after a restart, and when a client is back
            receipt = self.machine.receipts.get(client)
            counts = receipt is not None and receipt.round == in_hand.round
            same = isinstance(task, Training) and task.round == in_hand.round
            done = counts and task is not None and not same
            wanted = not done and (counts or is_assigned(self.machine, client, in_hand.round))
        return None if wanted else Withdrawn(in_hand.round, "the round has closed without it")

    async def _everyone_told(self, timeout_s: float) -> None:
        """Wait until all who are there have heard that the run is over."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if not set(present(self.machine)) - self._told:
                return
            await asyncio.sleep(0.05)

    def _take(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self._actions.put_nowait(action)

    async def _work(self) -> Finish:
        while True:
            action = await self._actions.get()
            if isinstance(action, Finish):
                await self._in_thread(partial(self.federation.perform, action))
                self.over = action
                self.desk.wake_all()
                return action
            await self._perform(action)

    async def _perform(self, action: Action) -> None:
        match action:
            case PlanRound():
                await self._plan(action)
            case Assign():
                await self._assign(action)
            case CancelAssignment():
                self.desk.take_back(action.client, action.exchange, action.round)
            case Reply():
                self._take_back(action)
            case Fold():
                await self._fold(action)
            case Combine() | Conclude():
                await self._take_in(await self._in_thread(partial(self.federation.perform, action)))

    def _take_back(self, reply: Reply) -> None:
        if reply.verdict != "unknown":
            self.desk.take_back(reply.client, reply.exchange, reply.round)

    async def _plan(self, action: PlanRound) -> None:
        while (obstacle := self.may_plan()) is not None:
            log.warning("no round is opened", reason=obstacle)
            await asyncio.sleep(5)
        await self._take_in(await self._in_thread(partial(self.federation.perform, action)))

    async def _take_in(self, events: tuple[Event, ...]) -> None:
        """Journal what the federation has done, and log it."""
        written = [self._submissions.submit(partial(_same, event)) for event in events]
        for event, each in zip(events, written, strict=True):
            say(event)
            await each

    async def _assign(self, action: Assign) -> None:
        task = await self._in_thread(partial(self._task, action))
        if task is not None:
            self.desk.give(action.client, task)

    def _task(self, action: Assign) -> Task | None:
        # Looked at in the federation's thread, where nothing can close the round meanwhile.
        client, number = action.client, action.round
        if not is_assigned(self.federation.machine, client, number, action.exchange):
            return None
        if action.exchange == MEASURING:
            known = self.federation.global_model
            frames, change = known.frames(), known.change()
            return Measuring(number, known.blob(), action.deadline, frames, change)
        if action.exchange != TRAINING:
            question = self.federation.exchanges.ask(self.federation.machine, client)
            return Answering(number, action.exchange, question, action.deadline)
        return Training(number, *self.federation.packed_assignment(client), action.deadline)

    async def _fold(self, action: Fold) -> None:
        folding = await asyncio.to_thread(
            self.federation.fold_updates, action.round, action.clients
        )
        log.info("round folded", round=action.round, updates=len(action.clients))
        await self._take_in(await self._in_thread(partial(self.federation.take_fold, folding)))

    async def _watch_the_clock(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._clock.now()
            deadline = next_deadline(self.machine)
            if deadline is not None and now >= deadline:
                await self._submissions.submit(Ticked)
            for client in self.leases.expire():
                await self._gone(client, "no sign of life within its lease")

    async def _gone(self, client: str, reason: str) -> None:
        self._let_go(client, reason)
        await self._submissions.submit(lambda: ClientLeft(client, reason))

    def _let_go(self, client: str, reason: str) -> None:
        self.in_hand.pop(client, None)
        task = self.desk.task_of(client)
        if task is not None:
            self.desk.take_back(client, task.exchange, task.round)
        log.info("client gone", client=client, reason=reason)

    def _note(self, source: Callable[[], Event]) -> None:
        with suppress(Ended):
            self._submissions.submit(source).add_done_callback(_ignore)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _same(event: Event) -> Event:
    return event


def _ignore(task: asyncio.Future[Submitted]) -> None:
    """Fetch a note's error, if any: the submissions themselves raise what ends the run."""
    if not task.cancelled():
        task.exception()
