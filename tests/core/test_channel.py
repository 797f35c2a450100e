"""What the options of both sides do: gRPC ignores a name that it does not know, so each is tried.

Those that are times are tried in a fraction of what they are, all alike, so that nobody waits for a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager

import grpc
import pytest
from tests.network.lines import until
from tests.network.proxy import Proxy, Weather

from antiphon.core.channel import (
    CLIENT_OPTIONS,
    MAX_MESSAGE_BYTES,
    SERVER_OPTIONS,
    Option,
    coordinator_name,
)

METHOD = "/test/Call"


class Handler:
    """Answers with as many bytes as asked for; asked for none, waits until it is cut off."""

    def __init__(self) -> None:
        self.open = 0
        self.most_open = 0
        self.began = asyncio.Event()
        self.cut = asyncio.Event()

    async def call(self, request: bytes, context) -> bytes:
        if len(request) > 100:
            return b"taken"
        if request:
            return bytes(int(request))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.open -= 1
            self.cut.set()

    def handlers(self):
        """Return what a server is given."""
        behaviour = grpc.unary_unary_rpc_method_handler(self.call)
        return grpc.method_handlers_generic_handler("test", {"Call": behaviour})


def hurried(options: Sequence[Option], times: int) -> list[Option]:
    """Return options whose times are so many times shorter."""
    return [(name, value // times if name.endswith("_ms") else value) for name, value in options]


@asynccontextmanager
async def served(handler: Handler, times: int = 1):
    """A server with our options on the loopback, without TLS: its port."""
    server = grpc.aio.server(options=hurried(SERVER_OPTIONS, times))
    server.add_generic_rpc_handlers((handler.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def channel_to(port: int, *options, times: int = 1) -> grpc.aio.Channel:
    ours = hurried(CLIENT_OPTIONS, times)
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*ours, *options])


def calling(request: bytes, *options, **how):
    """Call once, with limits of the client's own if given; return the status."""

    async def scenario():
        async with served(Handler()) as port, channel_to(port, *options) as channel:
            try:
                answer = await channel.unary_unary(METHOD)(request, timeout=10.0, **how)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return len(answer)

    return asyncio.run(scenario())


def test_a_port_is_not_shared():
    """A second server on the same port fails."""

    async def scenario():
        async with served(Handler()) as port:
            second = grpc.aio.server(options=SERVER_OPTIONS)
            with pytest.raises(RuntimeError, match="Failed to bind"):
                second.add_insecure_port(f"127.0.0.1:{port}")

    asyncio.run(scenario())


def test_a_message_within_the_limit_arrives():
    """Just below four mebibytes, in both directions."""
    assert calling(str(MAX_MESSAGE_BYTES - 1000).encode()) == MAX_MESSAGE_BYTES - 1000


@pytest.mark.parametrize("request_", [b"9" * (MAX_MESSAGE_BYTES + 1), b"5000000"])
def test_a_message_over_the_limit_does_not(request_):
    """Neither up nor down."""
    assert calling(request_) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_a_client_sends_over_the_limit_is_refused_by_the_server():
    """Also where the client has no limit of its own."""
    unlimited = ("grpc.max_send_message_length", -1)

    refused = calling(b"9" * (MAX_MESSAGE_BYTES + 1), unlimited)

    assert refused == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_compression_is_refused():
    """A client that compresses hears that nobody here inflates."""
    everything = ("grpc.compression_enabled_algorithms_bitset", 0b111)

    refused = calling(b"0" * 1000, everything, compression=grpc.Compression.Gzip)

    assert refused == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_over_the_limit_is_refused():
    """Eight kibibytes of headers are enough for everybody."""
    unlimited = ("grpc.max_metadata_size", 1 << 20)

    refused = calling(b"1", unlimited, metadata=(("x-filler", "x" * 10_000),))

    assert refused == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_connection_has_eight_calls_at_a_time():
    """The ninth waits in the client: one client cannot hold all places."""

    async def scenario():
        handler = Handler()
        own_line = ("grpc.use_local_subchannel_pool", 1)
        async with (
            served(handler) as port,
            channel_to(port) as channel,
            channel_to(port, own_line) as other,
        ):
            calls = [channel.unary_unary(METHOD)(b"") for _ in range(20)]
            await until(lambda: handler.open == 8, 60, "eight open calls")
            for _ in range(20):  # what else is to be opened has its turn meanwhile
                await other.unary_unary(METHOD)(b"1")
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return handler.most_open

    assert asyncio.run(scenario()) == 8


def test_a_call_does_not_try_again_by_itself():
    """Whether a call may be repeated is decided by who makes it: a dead port is said at once."""

    async def scenario():
        async with served(Handler()) as port:
            pass
        async with channel_to(port) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(METHOD)(b"1", timeout=60.0)
        return caught.value.code()

    assert asyncio.run(scenario()) == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("options", [CLIENT_OPTIONS, SERVER_OPTIONS], ids=["client", "server"])
def test_a_dead_line_is_noticed_within_a_minute(options):
    """A ping is sent in time for its missing answer to be noticed."""
    told = dict(options)

    assert told["grpc.keepalive_time_ms"] + told["grpc.http2.ping_timeout_ms"] < 60_000


@pytest.mark.slow
def test_both_sides_notice_a_line_that_stands_still():
    """No reset, no byte: pings find out, at the client and at the server."""

    async def scenario():
        handler = Handler()
        async with (
            served(handler, 10) as port,
            Proxy(port) as proxy,
            channel_to(proxy.port, times=10) as channel,
        ):
            waiting = asyncio.ensure_future(channel.unary_unary(METHOD)(b"", timeout=300.0))
            await asyncio.wait_for(handler.began.wait(), 30.0)
            proxy.weather = Weather(frozen=True)
            await asyncio.wait([waiting])
            await asyncio.wait_for(handler.cut.wait(), 300.0)
            return waiting.exception().code()

    assert asyncio.run(scenario()) == grpc.StatusCode.UNAVAILABLE


@pytest.mark.slow
@pytest.mark.parametrize("request_", [bytes(400_000), b"400000"], ids=["up", "down"])
def test_a_slow_line_is_not_taken_for_a_dead_one(request_):
    """At 24 kB/s a message takes 17 s, and a ping's answer waits behind it: the connection stays."""
    hurry = 4

    async def scenario():
        async with (
            served(Handler(), hurry) as port,
            Proxy(port, Weather(bytes_per_s=24e3 * hurry)) as proxy,
            channel_to(proxy.port, times=hurry) as channel,
        ):
            answer = await channel.unary_unary(METHOD)(request_, timeout=300.0)
            return len(answer), proxy.connections

    assert asyncio.run(scenario()) == (400_000 if request_ == b"400000" else 5, 1)


def test_a_coordinator_is_named_for_its_fleet():
    """Its certificate has this name wherever it runs."""
    assert coordinator_name("ward") == "coordinator.ward"
