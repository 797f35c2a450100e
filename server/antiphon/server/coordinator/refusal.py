"""What a caller is told when its call cannot be carried out: a status, a reason, when to try again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from antiphon.core.channel import RETRY_AFTER
from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.server.coordinator.downloads import NoSuchModel, TooManyDownloads
from antiphon.server.coordinator.spool import NoRoom, NotAnnounced, Superseded
from antiphon.server.coordinator.submissions import Ended

_BUSY_RETRY_MS = 5_000

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


_CODES: Mapping[type[Exception], grpc.StatusCode] = {
    Ended: grpc.StatusCode.UNAVAILABLE,
    NoRoom: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoSuchModel: grpc.StatusCode.NOT_FOUND,
    NotAnnounced: grpc.StatusCode.ABORTED,
    Superseded: grpc.StatusCode.CANCELLED,
    RunFolderError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyDownloads: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UpdateError: grpc.StatusCode.INVALID_ARGUMENT,
}


@asynccontextmanager
async def told(context: Context) -> AsyncIterator[None]:
    """End the call with a status and a reason where this block raises what its caller can act on."""
    try:
        yield
    except tuple(_CODES) as error:
        code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            await busy(context, str(error))
        await abort(context, code, str(error) or "nothing moved for too long: go on from there")


async def abort(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    """End the call."""
    await context.abort(code, reason)
    raise AssertionError("unreachable: abort raises")


async def busy(context: Context, reason: str, retry_ms: int = _BUSY_RETRY_MS) -> NoReturn:
    """End the call; it may succeed later."""
    hint = ((RETRY_AFTER, str(retry_ms)),)
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, hint)
    raise AssertionError("unreachable: abort raises")
