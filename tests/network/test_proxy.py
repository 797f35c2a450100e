"""The proxy does to a connection what its weather says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.network.proxy import Proxy, Weather

Body = Callable[[Proxy], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back whatever comes."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxied(weather: Weather) -> AsyncIterator[Proxy]:
    """A proxy in front of an echo server."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1], weather) as proxy:
        yield proxy


def through(weather: Weather, body: Body) -> None:
    """Run a test's body with a proxy, ten seconds at most."""

    async def bounded() -> None:
        async with asyncio.timeout(10), proxied(weather) as proxy:
            await body(proxy)

    asyncio.run(bounded())


async def asked(proxy: Proxy, data: bytes) -> bytes:
    """Send bytes over a connection of their own and return the echo."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(data)
        return await reader.readexactly(len(data))
    finally:
        writer.close()


def test_clear_weather_forwards_and_counts() -> None:
    """Without weather every byte comes back, and both directions are counted exactly."""

    async def body(proxy: Proxy) -> None:
        data = bytes(range(256)) * 4000

        assert await asked(proxy, data) == data
        assert (proxy.bytes_up, proxy.bytes_down) == (len(data), len(data))

    through(Weather(), body)


def test_latency_is_added_each_way() -> None:
    """50 ms of latency make a round trip of 100 ms, and little more."""

    async def body(proxy: Proxy) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()

        await asked(proxy, b"ping")

        assert 0.1 <= loop.time() - start < 0.3

    through(Weather(latency_s=0.05), body)


def test_rate_is_kept() -> None:
    """200 kB at 400 kB/s take half a second."""

    async def body(proxy: Proxy) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()

        await asked(proxy, bytes(200_000))

        assert 0.45 <= loop.time() - start < 0.9

    through(Weather(bytes_per_s=400_000), body)


def test_latency_does_not_lower_the_rate() -> None:
    """Pieces travel behind each other: 200 kB at 400 kB/s with 200 ms each way take 0.9 s."""

    async def body(proxy: Proxy) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()

        await asked(proxy, bytes(200_000))

        assert 0.85 <= loop.time() - start < 1.5

    through(Weather(latency_s=0.2, bytes_per_s=400_000), body)


def test_cut_after_the_given_bytes() -> None:
    """The connection is reset when exactly as many bytes have passed in both directions together."""

    async def body(proxy: Proxy) -> None:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asked(proxy, bytes(100_000))

        assert proxy.bytes_up + proxy.bytes_down == 50_000
        assert proxy.cuts == 1

    through(Weather(cut_every_bytes=50_000), body)


def test_cut_is_a_reset() -> None:
    """Who reads sees a reset, not the end of a stream."""

    async def body(proxy: Proxy) -> None:
        with pytest.raises(ConnectionResetError):
            await asked(proxy, bytes(1000))

    through(Weather(cut_every_bytes=1500), body)


def test_frozen_line_goes_on_when_it_thaws() -> None:
    """Nothing moves while it is frozen; the same connection delivers everything afterwards."""

    async def body(proxy: Proxy) -> None:
        task = asyncio.create_task(asked(proxy, b"late"))
        await asyncio.wait([task], timeout=0.2)
        while_frozen = proxy.bytes_up, task.done()

        proxy.weather = Weather()

        assert await task == b"late"
        assert while_frozen == (0, False)

    through(Weather(frozen=True), body)


def test_open_connection_freezes() -> None:
    """A change of weather holds for connections that are open already."""

    async def body(proxy: Proxy) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.weather = Weather(frozen=True)

        writer.write(b"b")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)
        writer.close()

    through(Weather(), body)


def test_black_hole_accepts_and_forwards_nothing() -> None:
    """A connection is accepted, and nothing that it sends arrives anywhere."""

    async def body(proxy: Proxy) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asked(proxy, b"anyone?"), 0.2)

        assert (proxy.connections, proxy.bytes_up) == (1, 0)

    through(Weather(black_hole=True), body)


def test_reset_all_ends_open_connections() -> None:
    """Every open connection sees a reset; new ones are served."""

    async def body(proxy: Proxy) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"a")
        await reader.readexactly(1)

        proxy.reset_all()

        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        assert await asked(proxy, b"again") == b"again"

    through(Weather(), body)
