"""What the server and a node say to each other where messages are posted and answers collected.

Nothing here knows who carries the letters: Flower's grid does (flower_engine.py), tests do it in memory.
A letter's parcel is one serialised message of antiphon.v1, and the content of the blob that it names:

    kind        asks                         answers
    join        nothing                      JoinRequest (without run_id), and the client's name
    ask         ExchangeTask                 SubmitAnswerRequest (without run_id)
    train       Assignment, its model        Update, its tensors
    evaluate    EvaluateTask, its model      SubmitEvaluationRequest

A model comes with what stands still beside it: a node may be another process at each letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["join", "ask", "train", "evaluate"]


@dataclass(frozen=True)
class Parcel:
    """message: serialised; content: of the blob that it names, empty where it names none; client: the
    name that a node gives itself when it joins, empty in every other parcel; frames: of the blob that
    it names beside a model, empty where there is none; run: its id, where the message does not say it.
    """

    message: bytes
    content: bytes = b""
    client: str = ""
    frames: bytes = b""
    run: str = ""


@dataclass(frozen=True)
class Letter:
    """Something asked of a node. client: empty until the node has said whose it is; round: of the task;
    ttl_s: seconds after which nobody needs the answer; exchange: of the round, in which it is asked.
    """

    node: int
    kind: Kind
    parcel: Parcel
    client: str = ""
    round: int = 0
    ttl_s: float = 3600.0
    exchange: str = ""


NodeReply = Parcel | str
"""What came back, or one sentence on why nothing did."""


class Post(Protocol):
    """Carries letters. No call blocks for longer than a transfer takes."""

    def nodes(self) -> Collection[int]:
        """Return the nodes that can be written to now."""
        ...

    def send(self, letters: Sequence[Letter]) -> None:
        """Send letters; one that cannot be sent is answered with the reason."""
        ...

    def answers(self) -> Iterator[tuple[Letter, NodeReply]]:
        """Yield each answer that has arrived, once, with the letter that it answers."""
        ...
