"""Events on their way into the journal: many to a transaction, off the event loop.

One commit waits for the disk; a thousand clients that come back at once must not wait in turn. What
`submit` returns has been committed: whoever awaits it may acknowledge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from antiphon.core.errors import AntiphonError
from antiphon.core.events import Event
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import Action
from antiphon.server.machine.run_state import RunState

_MOST_AT_ONCE = 256

Source = Callable[[], Event]
"""Gives an event, in the federation's thread; may read and write files."""


@dataclass(frozen=True)
class Submitted:
    """An event that is in the journal, and what is to be done about it."""

    event: Event
    actions: tuple[Action, ...]


@dataclass
class _Waiting:
    source: Source
    answer: asyncio.Future[Submitted]
    event: Event | None = None
    error: Exception | None = None


class Ended(AntiphonError):
    """The run is over, or this coordinator is: nothing more is written."""


class Submissions:
    """The one way to a federation's machine. `run` must be running for `submit` to return.

    machine: the state after the last commit, for the event loop, which never looks into the federation.
    """

    def __init__(
        self,
        federation: Federation,
        thread: Executor,
        on_actions: Callable[[tuple[Action, ...]], None],
    ) -> None:
        """thread: of one worker, which nobody else uses to change the federation; on_actions: hears what
        is to be done about each event, in their order, whether or not its caller is still there.
        """
        self._federation, self._thread, self._on_actions = federation, thread, on_actions
        self.machine = federation.machine
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._closed = False

    def start(self, min_clients: int) -> tuple[Action, ...]:
        """Begin the run, or take it up again, in the federation's thread; return the first actions."""
        actions = self._federation.start(min_clients)
        self.machine = self._federation.machine
        return actions

    def submit(self, source: Source) -> asyncio.Future[Submitted]:
        """Submit one event, in the order of the calls; it happens even if nobody awaits it.

        Raises Ended; the future raises what `source` raised, RunFolderError if the disk is full, or Ended.
        """
        if self._closed:
            raise Ended("the run has ended")
        answer: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(source, answer))
        return answer

    async def run(self) -> None:
        """Write until cancelled. Raises RunFolderError where the journal cannot be written."""
        try:
            await self._run()
        finally:
            self._closed = True
            while not self._queue.empty():
                _fail([self._queue.get_nowait()], Ended("the run has ended"))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < _MOST_AT_ONCE:
                batch.append(self._queue.get_nowait())
            try:
                machine, answers = await loop.run_in_executor(self._thread, self._write, batch)
            except asyncio.CancelledError:
                _fail(batch, Ended("this coordinator is ending"))
                raise
            except Exception as error:
                _fail(batch, error)
                raise
            self.machine = machine
            self._answer(batch, answers)

    def _write(self, batch: list[_Waiting]) -> tuple[RunState, list[tuple[Action, ...]]]:
        answers = self._federation.submit_many(_events(batch))
        return self._federation.machine, answers

    def _answer(self, batch: list[_Waiting], answers: list[tuple[Action, ...]]) -> None:
        left = iter(answers)
        for each in batch:
            if each.event is not None:
                submitted = Submitted(each.event, next(left))
                self._on_actions(submitted.actions)
                if not each.answer.done():
                    each.answer.set_result(submitted)
            elif each.error is not None and not each.answer.done():
                each.answer.set_exception(each.error)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)


def _events(batch: list[_Waiting]) -> Iterator[Event]:
    for each in batch:
        try:
            each.event = each.source()
        except Exception as error:  # of this one submission: the others go on
            each.error = error
        else:
            yield each.event
