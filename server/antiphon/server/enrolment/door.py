"""The guard of the Enrolment service, whose callers have no certificate: calls at once, by address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from antiphon.core.channel import RETRY_AFTER
from antiphon.server.enrolment.early_calls import Begin, from_headers_on
from antiphon.server.enrolment.open_calls import OpenCalls, TooMany
from antiphon.server.front.lines import Lines, Room
from antiphon.server.front.peers import address_of

if TYPE_CHECKING:
    from antiphon.server.enrolment.early_calls import Context, Handler

EACH = 16
"""Calls at once from one address; enrolling is one short call."""
TOTAL = 256
"""Calls at once."""
CONNECTIONS, MOST_CONNECTIONS = 64, 256
"""Connections of one address, and of all."""

_LOOK_EVERY_S = 1.0
_RETRY_MS = 1_000
_ROOM = Room(64 << 10)


class Door(grpc.aio.ServerInterceptor):
    """Counts the calls of each address from their headers on, and its connections. `watch` must run."""

    def __init__(self, now: Callable[[], float], *, each: int = EACH, total: int = TOTAL) -> None:
        """now: seconds of a clock that is never set; each, total: see EACH and TOTAL."""
        self.calls = OpenCalls(now, each=each, total=total)
        self.lines = Lines(now, each_address=CONNECTIONS, most=MOST_CONNECTIONS)
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the count before it."""
        method = handler_call_details.method
        if method not in self._guarded:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._guarded[method] = from_headers_on(handler, self._counted)
        return self._guarded[method]

    async def watch(self) -> None:
        """End half-open calls in time. Runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.calls.expire()

    async def _counted(self, begin: Begin, context: Context) -> Any:
        peer = context.peer()
        try:
            with (
                self.calls.opened(address_of(peer)) as call,
                self.lines.call(peer, "", _ROOM) as took,
            ):

                def arrived(size: int) -> None:
                    self.calls.arrived(call)
                    took(size)

                try:
                    return await begin(arrived)
                except asyncio.CancelledError:
                    if call.end is None:
                        raise
                    call.task.uncancel()
        except TooMany as error:
            hint = ((RETRY_AFTER, str(_RETRY_MS)),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), hint)
        assert call.end is not None
        await context.abort(call.end.code, call.end.reason)
