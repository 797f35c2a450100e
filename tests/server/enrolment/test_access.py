"""Who may call the Coordinator: real certificates over mutual TLS, calls of every kind."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.core.channel import SERVER_OPTIONS, secure_channel
from antiphon.core.clock import VirtualClock
from antiphon.server.enrolment.access import COORDINATOR_METHODS, Access, calling_client
from antiphon.server.enrolment.authority import bundle_file
from antiphon.server.enrolment.ledger import Issued
from antiphon.server.enrolment.open_calls import OpenCalls
from antiphon.server.enrolment.registrar import serial_of
from antiphon.server.front.behind import behind_front
from antiphon.v1 import coordinator_pb2

KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
EVERY_KIND = {f"/test/{kind}": frozenset({"client"}) for kind in KINDS}


class Echo:
    """Answers with the caller's name; on the request `wait`, waits for ever first."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.ended = asyncio.Event()
        self.peer = ""

    async def answer(self, request: bytes) -> bytes:
        if request == b"wait":
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        return calling_client().encode()

    async def unary_unary(self, request, context):
        self.peer = context.peer()
        return await self.answer(request)

    async def unary_stream(self, request, context):
        yield b"first"
        yield await self.answer(request)

    async def stream_unary(self, requests, context):
        async for request in requests:
            answer = await self.answer(request)
        return answer

    async def stream_stream(self, requests, context):
        async for request in requests:
            await context.write(await self.answer(request))

    def handlers(self):
        """Return the handlers by method, and one that the map lacks."""
        return grpc.method_handlers_generic_handler(
            "test",
            {
                "UnaryUnary": grpc.unary_unary_rpc_method_handler(self.unary_unary),
                "UnaryStream": grpc.unary_stream_rpc_method_handler(self.unary_stream),
                "StreamUnary": grpc.stream_unary_rpc_method_handler(self.stream_unary),
                "StreamStream": grpc.stream_stream_rpc_method_handler(self.stream_stream),
                "Unmapped": grpc.unary_unary_rpc_method_handler(self.unary_unary),
            },
        )


def call(channel, kind, *requests):
    """Begin a call; return what waits for its last answer."""

    async def sent():
        for request in requests:
            yield request
        if b"wait" in requests:
            await asyncio.Event().wait()

    async def last(answers):
        return [answer async for answer in answers][-1]

    if kind == "UnaryStream":
        return last(channel.unary_stream(f"/test/{kind}")(requests[0]))
    if kind == "StreamUnary":
        return channel.stream_unary(f"/test/{kind}")(sent())
    if kind == "StreamStream":
        return last(channel.stream_stream(f"/test/{kind}")(sent()))
    return channel.unary_unary(f"/test/{kind}")(requests[0])


@pytest.fixture
def with_access(fleet):
    """Run a scenario, a function of (channel, access, echo), as a client with these credentials."""

    async def run(scenario, credentials):
        calls = OpenCalls(VirtualClock(0.0).now, each=3, total=10)
        access = Access("ward", fleet.ledger, fleet.clock.now, EVERY_KIND, calls=calls)
        echo = Echo()
        server = grpc.aio.server(interceptors=[access], options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((echo.handlers(),))
        shown = fleet.certificate.credentials(clients=True)
        async with (
            behind_front(server, "127.0.0.1:0", shown, access.lines) as port,
            secure_channel(f"127.0.0.1:{port}", credentials, "ward") as channel,
        ):
            return await asyncio.wait_for(scenario(channel, access, echo), 20)

    return lambda scenario, credentials: asyncio.run(run(scenario, credentials))


@pytest.fixture
def edge(fleet):
    """The credentials of the client `edge`."""
    return fleet.shown(*fleet.enrolled("edge"))


async def refusal(awaited) -> tuple[grpc.StatusCode, str]:
    """Return how a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaited
    return caught.value.code(), caught.value.details()


def test_every_method_is_mapped():
    """The map has each method of the service, and no other."""
    (service,) = coordinator_pb2.DESCRIPTOR.services_by_name.values()

    assert set(COORDINATOR_METHODS) == {
        f"/{service.full_name}/{method.name}" for method in service.methods
    }


@pytest.mark.parametrize("kind", KINDS)
def test_let_in(with_access, edge, kind):
    """A client of the fleet is let in, and its handler knows its name."""
    answer = with_access(lambda channel, _access, _echo: call(channel, kind, b"hello"), edge)

    assert answer == b"edge"


def test_unmapped(with_access, edge):
    """A method that the map lacks is refused, though it exists."""
    code, reason = with_access(lambda c, _a, _e: refusal(call(c, "Unmapped", b"")), edge)

    assert (code, reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "a client may not call /test/Unmapped",
    )


def test_missing(with_access, edge):
    """A method that does not exist is said not to exist."""
    code, _ = with_access(lambda c, _a, _e: refusal(call(c, "Nothing", b"")), edge)

    assert code == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("kind", KINDS)
def test_revoked(fleet, with_access, edge, kind):
    """A revoked client is refused at its next connection, whatever it calls."""
    fleet.ledger.revoke("edge", fleet.clock.now())

    code, reason = with_access(lambda c, _a, _e: refusal(call(c, kind, b"")), edge)

    assert (code, reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "the certificate of edge is revoked",
    )


@pytest.mark.parametrize(("hours", "why"), [(25, "run out"), (-1, "not valid yet")])
def test_dates(fleet, with_access, edge, hours, why):
    """A certificate that has run out, or that the clocks disagree about, is refused by the call."""

    async def scenario(channel, access, _echo):
        access._now = lambda: time.time() + hours * 3600
        return await refusal(call(channel, "UnaryUnary", b""))

    code, reason = with_access(scenario, edge)

    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert why in reason


def test_other_fleet(fleet, make_fleet, with_access):
    """A client of another fleet is refused, also while its root is in the bundle."""
    other = make_fleet("other")
    leaf, key = other.enrolled("edge")
    file = bundle_file(fleet.authority.folder)
    file.write_bytes(file.read_bytes() + other.authority.root.public_bytes(Encoding.PEM))
    fleet.clock.advance_to(fleet.clock.now() + 2)

    _, reason = with_access(
        lambda c, _a, _e: refusal(call(c, "UnaryUnary", b"")), fleet.shown(leaf, key)
    )

    assert "the fleet other, expected ward" in reason


def test_unknown_to_the_ledger(fleet, with_access):
    """A certificate that the root signed and the ledger does not know is refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = fleet.authority.issue_client("ghost", key.public_key(), time.time(), 3600)

    _, reason = with_access(
        lambda c, _a, _e: refusal(call(c, "UnaryUnary", b"")), fleet.shown(leaf, key)
    )

    assert "revoked" in reason


def test_coordinator_may_not_call(fleet, with_access):
    """A certificate with the coordinator's name has no role here, though it may be good for calling."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = fleet.authority.issue_coordinator(key.public_key(), time.time(), 3600)
    row = Issued(serial_of(leaf), b"", 0, 1e12, b"")
    fleet.enrolled("coordinator")
    fleet.ledger.renew("coordinator", time.time(), lambda: row)

    code, _ = with_access(
        lambda c, _a, _e: refusal(call(c, "UnaryUnary", b"")), fleet.shown(leaf, key)
    )

    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off(fleet, with_access, edge, kind):
    """A client that is revoked in the middle of a call is told so, and its handler is cancelled."""

    async def scenario(channel, access, echo):
        refused = asyncio.ensure_future(refusal(call(channel, kind, b"wait")))
        await echo.waiting.wait()
        fleet.ledger.revoke("edge", fleet.clock.now())
        await access.refresh()
        return await refused, echo.ended.is_set(), access.open_calls()

    (code, reason), ended, left = with_access(scenario, edge)

    assert (code, ended, left) == (grpc.StatusCode.PERMISSION_DENIED, True, [])
    assert reason == "the certificate of edge is revoked"


def test_cut_off_when_it_runs_out(fleet, with_access, edge):
    """No call outlives its certificate."""

    async def scenario(channel, access, echo):
        refused = asyncio.ensure_future(refusal(call(channel, "UnaryUnary", b"wait")))
        await echo.waiting.wait()
        access._now = lambda: time.time() + 90_000
        await access.refresh()
        return await refused

    assert "run out" in with_access(scenario, edge)[1]


def test_others_go_on(fleet, with_access, edge):
    """A revocation cuts off its client only."""
    fleet.enrolled("other")

    async def scenario(channel, access, echo):
        waiting = asyncio.ensure_future(call(channel, "UnaryUnary", b"wait"))
        await echo.waiting.wait()
        fleet.ledger.revoke("other", fleet.clock.now())
        await access.refresh()
        still_open = access.open_calls()
        waiting.cancel()
        return still_open

    assert with_access(scenario, edge) == ["edge"]


def test_watch_notices(fleet, with_access, edge):
    """With the watch running, a revocation by another process ends an open call."""

    async def scenario(channel, access, echo):
        watching = asyncio.ensure_future(access.watch())
        refused = asyncio.ensure_future(refusal(call(channel, "UnaryUnary", b"wait")))
        await echo.waiting.wait()
        await asyncio.to_thread(fleet.ledger.revoke, "edge", fleet.clock.now())
        code, _ = await refused
        watching.cancel()
        return code

    assert with_access(scenario, edge) == grpc.StatusCode.PERMISSION_DENIED


def test_caller_goes_away(fleet, with_access, edge):
    """A call that its caller gives up leaves nothing open."""

    async def scenario(channel, access, echo):
        waiting = channel.unary_unary("/test/UnaryUnary")(b"wait")
        await echo.waiting.wait()
        waiting.cancel()
        await echo.ended.wait()
        return access.open_calls()

    assert with_access(scenario, edge) == []


async def half_open(channel, access, kind, open_before=0):
    """Begin a call that sends its headers and nothing else; return it once it is seen."""

    async def nothing():
        await asyncio.Event().wait()
        yield b""

    stream = channel.stream_unary if kind.endswith("Unary") else channel.stream_stream
    call = stream(f"/test/{kind}")(nothing())
    while len(access.open_calls()) <= open_before:  # noqa: ASYNC110 (no event tells of it)
        await asyncio.sleep(0)
    return call


@pytest.mark.parametrize("kind", KINDS)
def test_half_open_call_does_not_survive_revocation(fleet, with_access, edge, kind):
    """A call that has sent its headers only ends when its client is revoked."""

    async def scenario(channel, access, echo):
        call = await half_open(channel, access, kind)
        fleet.ledger.revoke("edge", fleet.clock.now())
        await access.refresh()
        return await call.code(), access.open_calls()

    assert with_access(scenario, edge) == (grpc.StatusCode.PERMISSION_DENIED, [])


@pytest.mark.parametrize("kind", KINDS)
def test_half_open_call_ends_in_time(with_access, edge, kind):
    """A call that has sent its headers only ends after ten seconds, whatever its kind."""

    async def scenario(channel, access, echo):
        call = await half_open(channel, access, kind)
        access._calls._now = lambda: 10.0
        await access.refresh()
        return await call.code(), access.open_calls()

    assert with_access(scenario, edge) == (grpc.StatusCode.DEADLINE_EXCEEDED, [])


def test_half_open_calls_make_room(with_access, edge):
    """A client whose budget is full of half-open calls is let in with a whole one."""

    async def scenario(channel, access, echo):
        calls = [await half_open(channel, access, "UnaryUnary", count) for count in range(3)]
        answer = await call(channel, "UnaryUnary", b"hello")
        return answer, await calls[0].code(), len(access.open_calls())

    answer, code, left = with_access(scenario, edge)

    assert (answer, code, left) == (b"edge", grpc.StatusCode.RESOURCE_EXHAUSTED, 2)


def test_budget_of_calls(with_access, edge):
    """A client that has as many calls going on as it may is asked to come back later."""

    async def scenario(channel, access, echo):
        waiting = [asyncio.ensure_future(call(channel, "UnaryUnary", b"wait")) for _ in range(3)]
        while len(access.open_calls()) < 3 or access._calls._half_open:  # noqa: ASYNC110 (likewise)
            await asyncio.sleep(0)
        refused = await refusal(call(channel, "UnaryUnary", b"hello"))
        for each in waiting:
            each.cancel()
        return refused

    code, reason = with_access(scenario, edge)

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "edge has 3 calls open, expected 3" in reason


def test_hang_up(with_access, edge):
    """A connection that is hung up on ends with its calls, also one whose reader has stopped."""

    async def scenario(channel, access, echo):
        waiting = asyncio.ensure_future(refusal(call(channel, "UnaryUnary", b"wait")))
        await echo.waiting.wait()
        await access.lines.hang_up(echo.peer, "enough")
        code, _ = await waiting
        await echo.ended.wait()
        return code, access.open_calls()

    assert with_access(scenario, edge) == (grpc.StatusCode.UNAVAILABLE, [])


def test_barred(with_access, edge):
    """A client whose connection was cut for what it sent is told to wait."""

    async def scenario(channel, access, _echo):
        access.lines._barred["edge"] = access.lines._now() + 30.0
        return await refusal(call(channel, "UnaryUnary", b"hello"))

    code, reason = with_access(scenario, edge)

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "a connection of edge sent what no call asked for" in reason


def test_call_without_a_message(with_access, edge):
    """A call that ends its side without a message is refused for that."""

    async def scenario(channel, _access, _echo):
        async def nothing():
            return
            yield b""

        return await refusal(channel.stream_unary("/test/UnaryUnary")(nothing()))

    code, reason = with_access(scenario, edge)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "a call without a message")
