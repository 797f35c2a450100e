"""The bytes of small calls, counted until they are worth a line in the journal.

Blobs and updates are counted where they are moved. What is left, waiting for tasks above all, is tiny
for a client that sends tensors and nearly everything for one that sends scalars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from antiphon.server.enrolment.access import calling_client

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

ENVELOPE_BYTES = 110
"""About what HTTP/2 and TLS put around a small message, one way."""


class Chatter(grpc.aio.ServerInterceptor):
    """Counts what goes back and forth in calls of one message each way, by client."""

    def __init__(self) -> None:
        """Nothing has been said."""
        self._up: Counter[str] = Counter()
        self._down: Counter[str] = Counter()
        self._counted: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def take(self, client: str) -> tuple[int, int]:
        """Return the bytes up and down since this was last asked for a client."""
        return self._up.pop(client, 0), self._down.pop(client, 0)

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler with the count around it; transfers count for themselves."""
        method = handler_call_details.method
        if method not in self._counted:
            handler = await continuation(handler_call_details)
            if handler is None or handler.unary_unary is None:
                return handler
            self._counted[method] = self._around(handler)
        return self._counted[method]

    def _around(self, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        behaviour: Any = handler.unary_unary

        async def counted(request: Any, context: Context) -> Any:
            client = calling_client()
            sent = getattr(request, "update", b"") or getattr(request, "answer", b"")
            self._up[client] += (
                request.ByteSize() - len(sent) + ENVELOPE_BYTES
            )  # that counts itself
            response = await behaviour(request, context)
            self._down[client] += response.ByteSize() + ENVELOPE_BYTES
            return response

        return grpc.unary_unary_rpc_method_handler(
            counted,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
