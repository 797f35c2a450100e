"""A gRPC server behind a front, from start to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from antiphon.server.front.front import Front
from antiphon.server.front.lines import Lines


@asynccontextmanager
async def behind_front(
    server: grpc.aio.Server,
    address: str,
    credentials: grpc.ServerCredentials,
    lines: Lines,
    *,
    grace_s: float | None = None,
) -> AsyncIterator[int]:
    """Serve at HOST:PORT (port 0: any) until the block ends; gives the port.

    grace_s: how long calls may go on then, seconds; none: not at all. Raises UserError where the address
    cannot be listened on.
    """
    front = Front(address, lines)
    try:
        server.add_secure_port(front.inside, credentials)
        await server.start()
        front.start()
        yield front.port
    finally:
        front.refuse()
        await server.stop(grace_s)
        await asyncio.to_thread(front.close)
