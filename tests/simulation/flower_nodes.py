"""Nodes in memory for the driver: they answer at once, with numpy, and misbehave where a test says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.strategies.served import sent as sent_delta

from antiphon.core.clock import VirtualClock
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.events import Event
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create, open_for_resume
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import to_bytes
from antiphon.core.types import Update
from antiphon.core.wire import pack_update, unpack_assignment
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import Finish
from antiphon.simulation.flower.driver import GridDriver
from antiphon.simulation.flower.letters import Letter, NodeReply, Parcel
from antiphon.simulation.monitor import Monitor
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.frames.gradient import GradientFrames, Sides
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2, update_pb2

SPACE = SpaceShapes({"m.q.lora_A.weight": (2, 4), "m.q.lora_B.weight": (3, 2)}, {}, "tiny", 100)
EXAMPLES = 10

Answering = Callable[[Letter, Parcel], NodeReply | None]
"""What becomes of a node's honest answer; none: it never arrives."""


def honest(letter: Letter, answer: Parcel) -> NodeReply | None:
    """Send what was computed."""
    return answer


@dataclass
class MemoryPost:
    """Nodes by number, each with its client's name.

    online: those that can be reached; late: answers that arrive at the next look.
    """

    config: RunConfig
    names: dict[int, str]
    answering: Answering = honest
    online: set[int] = field(default_factory=set)
    sent: list[Letter] = field(default_factory=list)
    late: list[tuple[Letter, NodeReply]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.online = set(self.names)
        self._waiting: list[Letter] = []

    def nodes(self) -> Collection[int]:
        """See letters.Post."""
        return list(self.online)

    def send(self, letters: Sequence[Letter]) -> None:
        """See letters.Post."""
        self.sent += letters
        self._waiting += letters

    def answers(self) -> Iterator[tuple[Letter, NodeReply]]:
        """See letters.Post."""
        letters, self._waiting = self._waiting, []
        for letter in letters:
            answer = self.answering(letter, _honest_answer(self, letter))
            if answer is not None:
                yield letter, answer
        late, self.late = self.late, []
        yield from late


def only(client: str, kind: str, wrong: Answering) -> Answering:
    """Let one client's letters of a kind be answered wrongly."""

    def answering(letter: Letter, answer: Parcel) -> NodeReply | None:
        of_client = client in (letter.client, answer.client)
        return wrong(letter, answer) if of_client and letter.kind == kind else answer

    return answering


def update_of(letter: Letter, **changes: Any) -> Parcel:
    """The honest update of a letter, but for the changes; tensors: by name."""
    run_id = update_pb2.Assignment.FromString(letter.parcel.message).run_id
    assignment, _ = unpack_assignment(letter.parcel.message, letter.client, run_id)
    delta = changes.pop("tensors", None) or {
        name: np.full(shape, 0.01, dtype=np.float32) for name, shape in SPACE.factors.items()
    }
    update = Update(
        letter.client,
        assignment.round,
        EXAMPLES,
        assignment.steps,
        sent_delta(delta),
        {"loss": 1.0},
    )
    packed = pack_update(replace(update, **changes), run_id)
    return Parcel(packed.message, packed.joined)


def answer_of(config: RunConfig, letter: Letter, **changes: Any) -> Parcel:
    """The honest answer to what `frames: gradient` asks, but for the changes: of gradients of ones."""
    frames = frames_of(config)
    assert isinstance(frames, GradientFrames)
    sketch = frames.sketched(SPACE.factors)
    sides = Sides(
        *(
            {n: np.ones(s, np.float32) for n, s in each.items()}
            for each in (sketch.left, sketch.right)
        )
    )
    said = {"round": letter.round, "exchange": "gradient", "answer": to_bytes(frames.pack(sides))}
    message = coordinator_pb2.SubmitAnswerRequest(**(said | changes))
    return Parcel(message.SerializeToString())


def _honest_answer(post: MemoryPost, letter: Letter) -> Parcel:
    if letter.kind == "join":
        joining = coordinator_pb2.JoinRequest(
            config_hash=config_hash(post.config), examples=EXAMPLES, evaluation_examples=5
        )
        for name, (rows, columns) in SPACE.factors.items():
            joining.space.factors.add(name=name, rows=rows, columns=columns)
        return Parcel(joining.SerializeToString(), client=post.names[letter.node])
    if letter.kind == "ask":
        return answer_of(post.config, letter)
    if letter.kind == "train":
        numbers = method_of(post.config).space.numbers(SPACE)
        return update_of(
            letter,
            tensors={name: np.full(each, 0.01, np.float32) for name, each in numbers.items()},
        )
    measured = coordinator_pb2.SubmitEvaluationRequest(
        round=letter.round, examples=5, metrics={"loss": 2.0 + letter.node}
    )
    return Parcel(measured.SerializeToString())


@dataclass
class Driven:
    """A run that has ended: how, what its journal says, and whom it did not let in."""

    finish: Finish
    folder: RunFolder
    events: list[Event]
    refused: dict[int, str]

    def of(self, *kinds: type[Event]) -> list[Any]:
        """The events of these kinds."""
        return [each for each in self.events if isinstance(each, kinds)]


def drive(
    post: MemoryPost,
    *,
    min_clients: int | None = None,
    resume: bool = False,
    on_wait: Callable[[float], None] = lambda now: None,
) -> Driven:
    """Run a post's config to the end in virtual time. on_wait: called between two looks."""
    runs, hashed = post.config.output.runs_dir, config_hash(post.config)
    make = open_for_resume if resume else create
    folder = make(Path(runs), post.config.name, resolved(post.config), hashed)
    clock, refused = VirtualClock(1000.0), dict[int, str]()

    def wait() -> None:
        clock.advance_to(clock.now() + 0.5)
        on_wait(clock.now())

    with Journal.writing(folder.journal_file) as journal:
        federation = Federation(post.config, folder, journal, SPACE, clock)
        driver = GridDriver(
            federation, post, clock, wait=wait, monitor=Monitor(), on_refused=refused.__setitem__
        )
        finish = driver.run(min_clients or len(post.names))
        events = [entry.event for entry in journal.read()]
    return Driven(finish, folder, events, refused)
