"""Handlers that begin with a call's headers, so that a guard sees calls that never send a message.

gRPC starts the handler of a method with one request when the request is here: a call that is only begun
is seen by nobody, holds its place for ever, and survives its caller's revocation. As a stream of one
request it is handled from its headers on.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from antiphon.core.channel import CHUNK_BYTES, MAX_MESSAGE_BYTES
from antiphon.server.front.lines import Room

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
Begin = Callable[[Callable[[int], None]], Awaitable[Any]]
"""Handles the call; given what to call with the size of each message that is here, bytes."""
Guard = Callable[[Begin, "Context"], Awaitable[Any]]
"""Stands before a handler: awaits what begins it, or refuses the call."""


def room_of(handler: Handler) -> Room:
    """Return what a call may have under way: a message, or what a stream may send ahead."""
    if handler.request_streaming:
        return Room(4 * CHUNK_BYTES, stream=True)
    return Room(MAX_MESSAGE_BYTES + CHUNK_BYTES)


def from_headers_on(handler: Handler, guard: Guard) -> Handler:
    """Return a handler that begins with the headers, behind a guard.

    Raises TypeError where the method's behaviour is no async function.
    """
    behaviour = _behaviour_of(handler)
    one_request, answers_many = not handler.request_streaming, bool(handler.response_streaming)

    async def guarded(requests: AsyncIterator[Any], context: Context) -> Any:
        async def begin(on_message: Callable[[int], None]) -> Any:
            asked: Any = _told(requests, on_message)
            if one_request:
                asked = await _only(context, on_message)
            if answers_many:
                return await _write_all(behaviour(asked, context), context)
            return await behaviour(asked, context)

        return await guard(begin, context)

    make = (
        grpc.stream_stream_rpc_method_handler
        if answers_many
        else grpc.stream_unary_rpc_method_handler
    )
    return make(
        guarded,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def _told(
    requests: AsyncIterator[Any], on_message: Callable[[int], None]
) -> AsyncIterator[Any]:
    async for request in requests:
        on_message(_size_of(request))
        yield request


async def _only(context: Context, on_message: Callable[[int], None]) -> Any:
    request = await context.read()
    if request is grpc.aio.EOF:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call without a message")
    on_message(_size_of(request))
    return request


def _size_of(request: Any) -> int:
    return int(request.ByteSize()) if hasattr(request, "ByteSize") else len(request)


async def _write_all(answers: Any, context: Context) -> None:
    """Send what a handler yields: from within the guard, which thus notices when it is cut off."""
    if not inspect.isasyncgen(answers):
        await answers  # it writes for itself
        return
    async with aclosing(answers):
        async for answer in answers:
            await context.write(answer)


def _behaviour_of(handler: Handler) -> Callable[[Any, Context], Any]:
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }
    behaviour: Callable[[Any, Context], Any]
    behaviour = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
    if not (inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)):
        raise TypeError(f"{behaviour} must be an async function")
    return behaviour
