"""What each client is to do, and the calls that wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from antiphon.core.blob import Blob, ModelChange
from antiphon.core.events import MEASURING, TRAINING


@dataclass(frozen=True)
class Training:
    """One client's part of a round.

    message: a packed assignment; deadline: seconds, on the engine's clock.
    """

    exchange: ClassVar[str] = TRAINING
    round: int
    message: bytes
    model: Blob
    deadline: float


@dataclass(frozen=True)
class Measuring:
    """The model after a round is to be measured. frames, change: see Assignment."""

    exchange: ClassVar[str] = MEASURING
    round: int
    model: Blob
    deadline: float
    frames: Blob | None = None
    change: ModelChange | None = None


@dataclass(frozen=True)
class Answering:
    """A question of one of the round's other exchanges. question: as it travels."""

    round: int
    exchange: str
    question: bytes
    deadline: float


@dataclass(frozen=True)
class Withdrawn:
    """What the client has in hand is not wanted any more."""

    round: int
    reason: str


@dataclass(frozen=True)
class InHand:
    """What a client says it is doing. steps_done: local steps of it."""

    round: int
    exchange: str = TRAINING
    steps_done: int = 0


Task = Training | Measuring | Answering


class Desk:
    """Tasks by client. A client has one at most; a task lies there until it is done or taken back."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._tasks: dict[str, Task] = {}
        self._waiting: dict[str, asyncio.Future[bool]] = {}

    def give(self, client: str, task: Task) -> None:
        """Put a task on the desk; it replaces the one before."""
        self._tasks[client] = task
        self.wake(client)

    def take_back(self, client: str, exchange: str, number: int) -> None:
        """Remove a task of this exchange and round, if it still lies there, and let its client know."""
        before = self._tasks.get(client)
        self.clear(client, exchange, number)
        if before is not self._tasks.get(client):
            self.wake(client)

    def clear(self, client: str, exchange: str, number: int) -> None:
        """Remove a task that is done, if it still lies there; its client knows."""
        task = self._tasks.get(client)
        if task is not None and task.exchange == exchange and task.round == number:
            del self._tasks[client]

    def task_of(self, client: str) -> Task | None:
        """Return what a client is to do."""
        return self._tasks.get(client)

    def all_of(self, kind: type[Task]) -> list[str]:
        """Return the clients that have a task of this kind, sorted."""
        return sorted(client for client, task in self._tasks.items() if isinstance(task, kind))

    def wake(self, client: str) -> None:
        """Let the client's waiting call look again."""
        self._end_wait(client, True)

    def wake_all(self) -> None:
        """Let every waiting call look again."""
        for client in list(self._waiting):
            self.wake(client)

    async def changed(self, client: str, timeout_s: float) -> bool:
        """Wait until something has changed for the client, or the time is up.

        Only the newest call of a client waits: False tells the one before to give up.
        """
        self._end_wait(client, False)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[client] = future
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return True
        finally:
            if self._waiting.get(client) is future:
                del self._waiting[client]

    def _end_wait(self, client: str, look_again: bool) -> None:
        waiting = self._waiting.pop(client, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(look_again)
