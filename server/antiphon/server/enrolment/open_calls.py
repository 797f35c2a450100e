"""The calls that are open: whose they are, how many one caller may have, and which of them must go.

A call is half open until its first message is here. Whoever opens calls and sends nothing must shut
nobody out, not even its neighbours behind one address: of too many, the oldest half-open one goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from antiphon.core.errors import AntiphonError

HALF_OPEN_S = 10.0
"""Time that a call is given to send its first message, seconds."""


class TooMany(AntiphonError):
    """As many calls are open as may be; the message is for the caller."""


@dataclass(frozen=True)
class End:
    """Why a call is cut off, as its caller is told."""

    code: grpc.StatusCode
    reason: str


@dataclass(eq=False)
class OpenCall:
    """A call that is being handled. since: when it began; end: why it was cut off, if it was."""

    caller: str
    task: asyncio.Task[object]
    since: float
    half_open: bool = True
    end: End | None = field(default=None, init=False)

    def cut_off(self, end: End) -> None:
        """Cancel its handler; what comes later does not change the reason."""
        if self.end is None:
            self.end = end
            self.task.cancel()


class OpenCalls:
    """All open calls of one server. each, total: how many one caller and all together may have.

    now: seconds of a clock that is never set; half_open_s: see HALF_OPEN_S.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        each: int,
        total: int,
        half_open_s: float = HALF_OPEN_S,
    ) -> None:
        """No call is open."""
        self._now, self._each, self._total, self._half_open_s = now, each, total, half_open_s
        self._of: dict[str, dict[OpenCall, None]] = {}  # oldest first, as all of these
        self._half_open: dict[OpenCall, None] = {}
        self._count = 0

    def __iter__(self) -> Iterator[OpenCall]:
        """Walk through what is open and not cut off."""
        return (call for calls in list(self._of.values()) for call in list(calls))

    @contextmanager
    def opened(self, caller: str) -> Iterator[OpenCall]:
        """Count the call that this task handles. Raises TooMany where no half-open one can go for it."""
        own = self._of.get(caller, {})
        if len(own) >= self._each:
            self._make_room(own, f"{caller} has {len(own)} calls open, expected {self._each}")
        if self._count >= self._total:
            self._make_room(self._half_open, f"{self._count} calls are open, as many as may be")
        task = asyncio.current_task()
        assert task is not None
        call = OpenCall(caller, task, self._now())
        self._of.setdefault(caller, {})[call] = None
        self._half_open[call] = None
        self._count += 1
        try:
            yield call
        finally:
            self._forget(call)

    def arrived(self, call: OpenCall) -> None:
        """The call's first message is here."""
        call.half_open = False
        self._half_open.pop(call, None)

    def cut_off(self, call: OpenCall, code: grpc.StatusCode, reason: str) -> None:
        """End a call; it counts no more."""
        self._forget(call)
        call.cut_off(End(code, reason))

    def expire(self) -> None:
        """End the calls whose first message has not come in time."""
        oldest = self._now() - self._half_open_s
        for call in [each for each in self._half_open if each.since <= oldest]:
            self.cut_off(
                call,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"no message within {self._half_open_s:g} s: send it with the call",
            )

    def _make_room(self, among: Iterable[OpenCall], reason: str) -> None:
        oldest = next((each for each in among if each.half_open), None)
        if oldest is None:
            raise TooMany(f"{reason}: end one first, or try again later")
        self.cut_off(oldest, grpc.StatusCode.RESOURCE_EXHAUSTED, f"{reason}: this one sent nothing")

    def _forget(self, call: OpenCall) -> None:
        self._half_open.pop(call, None)
        calls = self._of.get(call.caller, {})
        if call in calls:
            del calls[call]
            self._count -= 1
            if not calls:
                del self._of[call.caller]
