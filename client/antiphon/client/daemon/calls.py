"""How a call to the coordinator is made: again after what passes by itself, never after what does not.

Every call of the protocol may be made twice. The channel reconnects by itself; a call waits for that
within its own deadline (wait_for_ready) instead of failing at once, so that a whole fleet is back within
seconds of its coordinator. Between two attempts that the coordinator has answered lies a backoff.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
import structlog

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.sent.ledger import LedgerError
from antiphon.client.sent.recorded import RecordedChannel
from antiphon.core.channel import RETRY_AFTER
from antiphon.core.errors import AntiphonError
from antiphon.v1 import coordinator_pb2_grpc

log = structlog.get_logger()
T = TypeVar("T")
Stub = coordinator_pb2_grpc.CoordinatorStub

_SAY_SO_EVERY_S = 60.0
_MOST_DIGITS = 12  # of a hint; Python refuses to read thousands


class CallFailed(AntiphonError):
    """The coordinator cannot be asked, or refused; `code` is gRPC's, the text the coordinator's."""

    def __init__(self, text: str, code: grpc.StatusCode, hint_s: float | None = None) -> None:
        """hint_s: when to try again, if the coordinator said so."""
        super().__init__(text)
        self.code, self.hint_s = code, hint_s


class Interrupted(CallFailed):
    """It may work the next time: the line broke, or the coordinator is busy or away."""


class NotRecorded(Interrupted):
    """Nothing was sent: the ledger of what leaves this site cannot be written."""


class StartOver(CallFailed):
    """Another run is open, or this client is not a member: begin with Hello."""


class HandInAgain(CallFailed):
    """The coordinator does not know what this blob is for: hand the update in again."""


class Gone(CallFailed):
    """What was asked for is not there any more."""


class NotAllowed(CallFailed):
    """This machine's certificate is not accepted."""


class CallRefused(CallFailed):
    """The coordinator does not take this, now or later."""


_Code = grpc.StatusCode
KINDS: dict[grpc.StatusCode, type[CallFailed]] = {
    _Code.UNAVAILABLE: Interrupted,
    _Code.DEADLINE_EXCEEDED: Interrupted,
    _Code.RESOURCE_EXHAUSTED: Interrupted,
    _Code.CANCELLED: Interrupted,  # by a coordinator that drains
    _Code.INTERNAL: Interrupted,  # a stream that was reset
    _Code.UNKNOWN: Interrupted,  # likewise, or a defect that a restart may mend
    _Code.FAILED_PRECONDITION: StartOver,
    _Code.ABORTED: HandInAgain,
    _Code.NOT_FOUND: Gone,
    _Code.UNAUTHENTICATED: NotAllowed,
    _Code.PERMISSION_DENIED: NotAllowed,
}
"""What each status means to a client; one that is not here is `Refused`."""


@dataclass
class _Connection:
    channel: RecordedChannel
    stub: Stub
    calls: int = 0
    retired: bool = False

    async def close_if_idle(self) -> None:
        if self.retired and not self.calls:
            await self.channel.close()


class Caller:
    """A channel to the coordinator, and the patience to use it."""

    def __init__(
        self, connect: Callable[[], RecordedChannel], backoff: Backoff, metrics: Metrics
    ) -> None:
        """connect: opens a channel, with the certificate of now; backoff: each call gets one like it, so
        that one which fails for long is not hurried by others that succeed.
        """
        self._connect, self._backoff, self._metrics = connect, backoff, metrics
        self._connection = self._opened()
        self._said, self._complained = float("-inf"), False

    async def reconnect(self) -> None:
        """Use a new channel from now on; calls under way on the old one are finished there."""
        old, self._connection = self._connection, self._opened()
        old.retired = True
        await old.close_if_idle()

    async def close(self) -> None:
        """Close the channel; calls under way fail."""
        self._connection.retired = True
        await self._connection.channel.close()

    async def once(self, work: Callable[[Stub], Awaitable[T]]) -> T:
        """Make one attempt. Raises CallFailed of the kind that its status means."""
        connection = self._connection
        connection.calls += 1
        try:
            answer = await work(connection.stub)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None
        except LedgerError as error:
            raise NotRecorded(str(error), _Code.RESOURCE_EXHAUSTED) from None
        except (TimeoutError, grpc.aio.UsageError) as error:
            raise Interrupted(str(error) or "no progress", _Code.DEADLINE_EXCEEDED) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Interrupted("the channel was closed", _Code.CANCELLED) from None
        finally:
            connection.calls -= 1
            await connection.close_if_idle()
        self._metrics.contact()
        return answer

    async def until_answered(
        self, work: Callable[[Stub], Awaitable[T]], came_further: Callable[[], bool] = lambda: False
    ) -> T:
        """Make attempts for as long as it takes. Raises every CallFailed but Interrupted.

        came_further: whether the attempt that failed was not in vain; a line that breaks often and brings
        us further each time is no outage, and the next wait is a short one.
        """
        backoff = self._backoff.another()
        while True:
            try:
                answer = await self.once(work)
            except Interrupted as interrupted:
                if came_further():
                    backoff.reset()
                delay_s = backoff.delay_s(interrupted.hint_s)
                self._complain(interrupted, backoff.failures)
                await asyncio.sleep(0.0 if self._has_waited(interrupted) else delay_s)
            else:
                self._regained(backoff.failures)
                return answer

    def _has_waited(self, interrupted: Interrupted) -> bool:
        """Whether the deadline has passed in connecting, where the channel keeps its own backoff."""
        ready = self._connection.channel.get_state() is grpc.ChannelConnectivity.READY
        return interrupted.code is _Code.DEADLINE_EXCEEDED and not ready

    def _opened(self) -> _Connection:
        channel = self._connect()
        return _Connection(channel, coordinator_pb2_grpc.CoordinatorStub(channel))

    def _regained(self, failures: int) -> None:
        if failures:
            self._metrics.reconnects.inc()
        if failures and self._complained:
            self._complained = False
            log.info("coordinator answers again", failures=failures)

    def _complain(self, interrupted: Interrupted, failures: int) -> None:
        """Log a failure; once a minute at most, whatever happens in between."""
        now = asyncio.get_running_loop().time()
        if now - self._said < _SAY_SO_EVERY_S:
            return
        self._said = now
        if isinstance(interrupted, NotRecorded):
            log.error("nothing is sent", reason=str(interrupted))
            return
        if interrupted.hint_s is not None:  # it answers: a run that is not open yet, say
            log.info("the coordinator asks to wait; trying on", reason=str(interrupted))
            return
        self._complained = True
        log.warning(
            "coordinator does not answer; trying on",
            status=interrupted.code.name,
            reason=str(interrupted),
            failures=failures,
        )


def failure_of(error: grpc.aio.AioRpcError) -> CallFailed:
    """Return what a status means, with the coordinator's text, cut."""
    code = error.code()
    kind = KINDS.get(code, CallRefused)
    return kind((error.details() or code.name)[:500], code, _hint_s(error.trailing_metadata()))


def _hint_s(metadata: grpc.aio.Metadata | None) -> float | None:
    value = metadata.get(RETRY_AFTER) if metadata is not None else None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    plain = text is not None and text.isdecimal() and len(text) < _MOST_DIGITS
    return int(text) / 1000 if text is not None and plain else None
