"""The round machine over letters: real time, nodes that come and go, and nothing that blocks.

The engine of runs on Flower, without a line of Flower: a `Post` carries the letters. Whatever a node
answers, or fails to answer, costs its own client that round and nobody else.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from antiphon.core.blob import Blob, blob_of
from antiphon.core.clock import Clock
from antiphon.core.errors import UpdateError
from antiphon.core.events import (
    MEASURING,
    TRAINING,
    BytesMoved,
    ClientDescribed,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    Evaluated,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.files import write_bytes
from antiphon.core.wire import pack_blob, round_of, update_blob
from antiphon.server.federation import Federation
from antiphon.server.folding.held_out import read_measurement
from antiphon.server.machine.actions import (
    Action,
    Assign,
    CancelAssignment,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.machine.round import next_deadline
from antiphon.server.machine.run_state import is_assigned, may_deliver, present
from antiphon.server.planning.agreement import Disagreement
from antiphon.simulation.driver import Driver
from antiphon.simulation.flower.letters import Kind, Letter, NodeReply, Parcel, Post
from antiphon.simulation.flower.roster import Roster
from antiphon.simulation.monitor import Monitor
from antiphon.v1 import coordinator_pb2

_LOOK_EVERY_S = 1.0
_COME_BACK_S = 90.0  # for the clients of a run that is taken up again; Flower's heartbeats take 60
_LONGEST_S = 7 * 86_400.0  # a letter's life where its round has no deadline
_MAX_REASON = 500

OnRefused = Callable[[int, str], None]
"""Hears of a node that cannot take part, and why."""


@dataclass(frozen=True)
class _Errand:
    """What a client is to be written. deadline: absolute seconds; exchange: of its round."""

    round: int
    deadline: float
    exchange: str


class GridDriver(Driver):
    """One run, from its first open round to the end."""

    def __init__(
        self,
        federation: Federation,
        post: Post,
        clock: Clock,
        *,
        wait: Callable[[], None],
        monitor: Monitor,
        on_refused: OnRefused,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        """wait: lets a moment pass; stopwatch: real seconds, for the time by phase."""
        super().__init__(federation, monitor, stopwatch)
        self._post, self._clock = post, clock
        self._wait, self._on_refused = wait, on_refused
        self._roster = Roster(federation.config, federation.space)
        self._errands: dict[str, _Errand] = {}
        self._at_work: Counter[int | None] = Counter()
        self._began = self._next_look = clock.now()
        self._opened_at: dict[int, float] = {}
        self._contents: dict[str, tuple[str, bytes]] = {}

    def run(self, min_clients: int) -> Finish:
        """Run to the end. An interruption leaves a journal from which the run can go on."""
        self._actions.extend(self._federation.start(min_clients))
        while (finish := self._work()) is None:
            self._look_around()
            self._send()
            heard = self._hear()
            self._mind_the_clock()
            if not heard and not self._actions:
                self._wait()
        return finish

    def _perform(self, action: Action) -> None:
        match action:
            case PlanRound():
                self._opened_at[action.round] = self._stopwatch()
            case Fold() if (opened := self._opened_at.pop(action.round, None)) is not None:
                self._note_time(action.round, "training", opened)
        super()._perform(action)

    def _give(self, action: Assign) -> None:
        self._errands[action.client] = _Errand(action.round, action.deadline, action.exchange)

    def _call_off(self, action: CancelAssignment) -> None:
        errand = self._errands.get(action.client)
        if errand is not None and errand.exchange == action.exchange:
            del self._errands[action.client]

    # Nodes

    def _look_around(self) -> None:
        now = self._clock.now()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        come = self._roster.look(self._post.nodes())
        self._post.send([Letter(node, "join", Parcel(b"")) for node in come])
        for client in present(self._federation.machine):
            may_come_back = not self._roster.has_joined(client) and now - self._began < _COME_BACK_S
            if self._roster.node_of(client) is None and not may_come_back:
                self._errands.pop(client, None)
                self._submit(ClientLeft(client, "its node is offline"))

    def _joined(self, node: int, answer: NodeReply) -> None:
        try:
            if isinstance(answer, str):
                # A SuperLink may list a node a moment before it takes messages for it.
                self._roster.ask_again(node)
                raise Disagreement(answer)
            member = self._roster.admit(node, answer)
        except Disagreement as error:
            self._on_refused(node, str(error)[:_MAX_REASON])
            return
        # First what it is: the plan may follow at once.
        self._federation.observe(ClientDescribed(member.client, member.facts))
        self._submit(ClientJoined(member.client, member.examples))

    # Letters

    def _send(self) -> None:
        letters = []
        for client, errand in list(self._errands.items()):
            node = self._roster.node_of(client)
            if node is not None:
                del self._errands[client]
                letters.append(self._letter(node, client, errand))
        sent = [each for each in letters if each is not None]
        self._at_work.update(each.node for each in sent if each.kind in ("ask", "train"))
        self._post.send(sent)

    def _letter(self, node: int, client: str, errand: _Errand) -> Letter | None:
        number, exchange = errand.round, errand.exchange
        left = min(max(1.0, errand.deadline - self._clock.now()), _LONGEST_S)
        if not is_assigned(self._federation.machine, client, number, exchange):
            return None
        match exchange:
            case exchange if exchange == MEASURING:
                kind: Kind = "evaluate"
                parcel = self._to_measure(number, left)
            case exchange if exchange == TRAINING:
                kind, parcel = "train", self._to_train(client, number)
            case _:
                kind, parcel = "ask", self._to_ask(client, errand, left)
        return Letter(node, kind, parcel, client, number, left, exchange)

    def _to_measure(self, number: int, left: float) -> Parcel:
        model, frames = self._federation.model(), self._federation.global_model.frames()
        task = coordinator_pb2.EvaluateTask(
            round=number,
            model=pack_blob(model),
            frames=pack_blob(frames) if frames else None,
            deadline_ms=int(1000 * left),
        )
        return self._with_model(task.SerializeToString(), model)

    def _to_train(self, client: str, number: int) -> Parcel:
        message, model = self._federation.packed_assignment(client)
        parcel = self._with_model(message, model)
        moved = [BytesMoved(number, client, "down", "model", len(message) + model.bytes)]
        if parcel.frames:
            moved.append(BytesMoved(number, client, "down", "frames", len(parcel.frames)))
        for each in moved:
            self._federation.observe(each)
        return parcel

    def _to_ask(self, client: str, errand: _Errand, left: float) -> Parcel:
        question = self._federation.exchanges.ask(self._federation.machine, client)
        task = coordinator_pb2.ExchangeTask(
            round=errand.round,
            exchange=errand.exchange,
            question=question,
            deadline_ms=int(1000 * left),
        )
        return Parcel(task.SerializeToString(), run=self._federation.run_id)

    def _with_model(self, message: bytes, model: Blob) -> Parcel:
        frames = self._federation.global_model.frames()
        beside = self._content_of("frames", frames) if frames else b""
        return Parcel(message, self._content_of("model", model), frames=beside)

    def _content_of(self, what: str, blob: Blob) -> bytes:
        """Return a blob's bytes, the same object for as long as it is asked for in a row."""
        if self._contents.get(what, ("",))[0] != blob.sha256:
            file = self._federation.folder.model_blob(blob.sha256)
            self._contents[what] = (blob.sha256, file.read_bytes())
        return self._contents[what][1]

    def _hear(self) -> bool:
        heard = False
        for letter, answer in self._post.answers():
            heard = True
            match letter.kind:
                case "join":
                    self._joined(letter.node, answer)
                case "ask":
                    self._answered(letter, answer)
                case "train":
                    self._trained(letter, answer)
                case "evaluate":
                    self._measured(letter, answer)
        return heard

    # Exchanges before training

    def _answered(self, letter: Letter, answer: NodeReply) -> None:
        client, number, exchange = letter.client, letter.round, letter.exchange
        self._at_work[letter.node] -= 1
        federation = self._federation
        if not may_deliver(federation.machine, client, number, exchange):
            return
        said = answer if isinstance(answer, str) else _read_answer(letter, answer)
        if isinstance(said, str):
            self._submit(ClientFailed(client, number, said[:_MAX_REASON], exchange))
            return
        received = federation.exchanges.receive(federation.machine, client, number, exchange, said)
        if isinstance(received, UpdateRejected):  # its reason may hold what a node has sent
            received = replace(received, reason=received.reason[:_MAX_REASON])
        self._submit(
            BytesMoved(number, client, "down", "exchange", len(letter.parcel.message)),
            BytesMoved(number, client, "up", "exchange", len(said)),
            received,
        )

    # Training

    def _trained(self, letter: Letter, answer: NodeReply) -> None:
        client, number = letter.client, letter.round
        self._at_work[letter.node] -= 1
        if not may_deliver(self._federation.machine, client, number):
            return  # its round has closed without it, or another node of its client was faster
        if isinstance(answer, str):
            if self._roster.node_of(client) == letter.node:  # else a newer node is at the same work
                self._submit(ClientFailed(client, number, answer[:_MAX_REASON]))
            return
        size = len(answer.message) + len(answer.content)
        self._federation.observe(BytesMoved(number, client, "up", "update", size))
        with self._timed(number, "checks"):
            received = self._received(client, number, answer)
        for action in self._submit(received):
            if isinstance(action, Reply):
                self._monitor.replied(action, size)
        if isinstance(received, UpdateReceived):
            self._show_steps(received)

    def _received(
        self, client: str, number: int, answer: Parcel
    ) -> UpdateReceived | UpdateRejected:
        """Check an update and keep it on disk. Whatever the bytes are, it is one client's event."""
        try:
            if round_of(answer.message) != number:
                raise UpdateError(
                    f"an update of round {round_of(answer.message)}, expected {number}"
                )
            named = update_blob(answer.message)
            if named is not None and blob_of(answer.content, named.encoding) != named:
                raise UpdateError("its tensors are not those that its message names")
        except UpdateError as error:
            return UpdateRejected(client, number, str(error)[:_MAX_REASON])
        folder = self._federation.folder
        upload = None if named is None else folder.upload_file(client, named.sha256)
        if upload is not None:
            write_bytes(upload, answer.content)
        received = self._federation.receive(client, answer.message)
        if upload is not None:
            upload.unlink(missing_ok=True)
        if isinstance(
            received, UpdateRejected
        ):  # its reason may hold the names that a node has sent
            return UpdateRejected(client, number, received.reason[:_MAX_REASON])
        return received

    def _show_steps(self, received: UpdateReceived) -> None:
        loss, config = received.metrics.get("loss", math.nan), self._federation.config
        # The number is the node's own word.
        steps = min(received.steps, max(config.training.max_steps, config.seeds.max_steps))
        for done in range(1, steps + 1):
            self._monitor.client_stepped(received.client, done, steps, loss)

    # Measuring

    def _measure(self, asked: Sequence[Assign]) -> None:
        """Write to those whose nodes can measure at once: a node does one thing at a time.

        One that trains for a round that has closed cannot be called off, and nobody waits for it.
        """
        at_work = []
        for ask in asked:
            if self._at_work[self._roster.node_of(ask.client)]:
                why = "its node is at work still"
                at_work.append(ClientFailed(ask.client, ask.round, why, MEASURING))
            else:
                self._errands[ask.client] = _Errand(ask.round, ask.deadline, MEASURING)
        self._submit(*at_work)

    def _measured(self, letter: Letter, answer: NodeReply) -> None:
        client, number = letter.client, letter.round
        if not is_assigned(self._federation.machine, client, number, MEASURING):
            return
        measured = answer if isinstance(answer, str) else _read_measurement(letter, answer)
        if isinstance(measured, str):
            self._submit(ClientFailed(client, number, measured[:_MAX_REASON], MEASURING))
            return
        self._submit(measured)
        slots = self._federation.machine.measuring.values()
        done = sum(each.status != "assigned" for each in slots)
        self._monitor.evaluating(number, done - 1, len(slots))

    # Time

    def _mind_the_clock(self) -> None:
        now, deadline = self._clock.now(), next_deadline(self._federation.machine)
        if deadline is not None and now >= deadline:
            self._submit(Ticked())


def _read_answer(letter: Letter, answer: Parcel) -> bytes | str:
    """Return what a node answers in an exchange, or why it cannot be used."""
    try:
        said = coordinator_pb2.SubmitAnswerRequest.FromString(answer.message)
    except DecodeError as error:
        return f"its answer is no SubmitAnswerRequest: {error}"
    if (said.round, said.exchange) != (letter.round, letter.exchange):
        told = f"{said.exchange[:64]!r} of round {said.round}"
        return f"an answer to {told}, expected {letter.exchange!r} of round {letter.round}"
    return said.answer


def _read_measurement(letter: Letter, answer: Parcel) -> Evaluated | str:
    """Return what a node has measured, or why it cannot be used."""
    try:
        said = coordinator_pb2.SubmitEvaluationRequest.FromString(answer.message)
    except DecodeError as error:
        return f"its answer is no SubmitEvaluationRequest: {error}"
    if said.round != letter.round:
        return f"a measurement of round {said.round}, expected {letter.round}"
    try:
        return read_measurement(letter.round, letter.client, said.examples, said.metrics)
    except UpdateError as error:
        return str(error)
