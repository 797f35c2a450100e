"""The Enrolment service over TLS on the loopback."""

import asyncio

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.core.channel import RETRY_AFTER, secure_channel
from antiphon.core.errors import UserError
from antiphon.server.enrolment.door import Door
from antiphon.server.enrolment.failure_limit import FailureLimit
from antiphon.server.enrolment.service import EnrolmentService, serve_enrolment
from antiphon.v1 import coordinator_pb2, coordinator_pb2_grpc, enrolment_pb2, enrolment_pb2_grpc


@pytest.fixture
def with_service(fleet):
    """Run a scenario, a function of a channel, against the fleet's service."""

    async def run(scenario, door=None):
        service = EnrolmentService(fleet.registrar, FailureLimit(fleet.clock.now, burst=5))
        root = grpc.ssl_channel_credentials(fleet.authority.root.public_bytes(Encoding.PEM))
        async with (
            serve_enrolment("127.0.0.1:0", service, fleet.certificate, door=door) as port,
            secure_channel(f"127.0.0.1:{port}", root, "ward") as channel,
        ):
            return await asyncio.wait_for(scenario(channel), 20)

    return lambda scenario, door=None: asyncio.run(run(scenario, door))


def enrol(channel, token, request):
    """Call Enrol."""
    message = enrolment_pb2.EnrolRequest(token=token, certificate_request=request)
    return enrolment_pb2_grpc.EnrolmentStub(channel).Enrol(message)


async def refusal(call) -> grpc.aio.AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_enrol(fleet, with_service):
    """A token and a request come back as a certificate."""
    token = fleet.token("edge")

    reply = with_service(lambda channel: enrol(channel, token, fleet.request()))

    assert reply.client == "edge"


def test_no_oracle(fleet, with_service):
    """Wrong, used and expired tokens are refused with the same words."""
    used, expired = fleet.token("a"), fleet.token("b", ttl_s=-1)
    fleet.registrar.enrol(used, fleet.request())

    async def scenario(channel):
        tokens = [used, expired, "no token", "aaaaaaaa." + "a" * 32]
        return [await refusal(enrol(channel, each, fleet.request())) for each in tokens]

    refusals = with_service(scenario)

    assert {each.code() for each in refusals} == {grpc.StatusCode.UNAUTHENTICATED}
    assert len({each.details() for each in refusals}) == 1


def test_guessing_is_slow(fleet, with_service):
    """After some failures the address has to wait, and is told for how long; a good token too."""
    token = fleet.token()

    async def scenario(channel):
        for _ in range(5):
            await refusal(enrol(channel, "guess", fleet.request()))
        refused = await refusal(enrol(channel, token, fleet.request()))
        fleet.clock.advance_to(fleet.clock.now() + 5)
        return refused, await enrol(channel, token, fleet.request())

    refused, reply = with_service(scenario)

    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0 < int(dict(refused.trailing_metadata())[RETRY_AFTER]) <= 5001
    assert reply.client == "edge"


def test_bad_request(fleet, with_service):
    """A broken request is said to be one."""
    token = fleet.token()

    refused = with_service(lambda channel: refusal(enrol(channel, token, b"broken")))

    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_no_proof(fleet, with_service):
    """A renewal without the old key is refused."""
    leaf, _ = fleet.enrolled("edge")
    message = enrolment_pb2.RenewExpiredRequest(
        certificate=leaf.public_bytes(Encoding.DER), certificate_request=fleet.request()
    )

    async def scenario(channel):
        return await refusal(enrolment_pb2_grpc.EnrolmentStub(channel).RenewExpired(message))

    assert with_service(scenario).code() == grpc.StatusCode.UNAUTHENTICATED


def test_nothing_else_is_here(with_service):
    """No method of the Coordinator can be reached where no certificate is asked for."""

    async def scenario(channel):
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        return await refusal(stub.Hello(coordinator_pb2.HelloRequest()))

    assert with_service(scenario).code() == grpc.StatusCode.UNIMPLEMENTED


def test_large_message(fleet, with_service):
    """A message that no client of ours sends is refused before it is read."""
    refused = with_service(lambda channel: refusal(enrol(channel, "t", b"\0" * (100 << 10))))

    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_port_in_use(fleet):
    """A second service on a port is refused with the reason."""

    async def scenario():
        service = EnrolmentService(fleet.registrar, FailureLimit(fleet.clock.now))
        async with serve_enrolment("127.0.0.1:0", service, fleet.certificate) as port:
            with pytest.raises(UserError, match=r"cannot listen .* in use"):
                async with serve_enrolment(f"127.0.0.1:{port}", service, fleet.certificate):
                    pass

    asyncio.run(scenario())


def test_many_at_once(fleet, with_service):
    """Of 32 machines that join with one token of one use at the same time, one becomes the client."""
    token = fleet.token()

    async def attempt(channel):
        try:
            return (await enrol(channel, token, fleet.request())).client
        except grpc.aio.AioRpcError as error:
            return error.code()

    results = with_service(lambda channel: asyncio.gather(*(attempt(channel) for _ in range(32))))

    assert results.count("edge") == 1


async def half_open(channel, door, count):
    """Begin calls that send their headers and nothing else; return them once all were seen."""

    async def nothing():
        await asyncio.Event().wait()
        yield b""

    begin = channel.stream_unary("/antiphon.v1.Enrolment/Enrol")
    calls = [begin(nothing()) for _ in range(count)]
    while len(list(door.calls)) < count:  # noqa: ASYNC110 (no event tells of it)
        await asyncio.sleep(0)
    return calls


def test_half_open_calls_shut_nobody_out(fleet, with_service):
    """A machine joins while its own address has as many half-open calls as it may."""
    door = Door(fleet.clock.now, each=5, total=50)

    async def scenario(channel):
        calls = await half_open(channel, door, 5)
        reply = await enrol(channel, fleet.token("edge"), fleet.request())
        codes = [asyncio.ensure_future(each.code()) for each in calls]
        (ended,), _ = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
        return reply.client, ended.result(), len(list(door.calls))

    assert with_service(scenario, door) == ("edge", grpc.StatusCode.RESOURCE_EXHAUSTED, 4)


def test_half_open_calls_end_in_time(fleet, with_service):
    """A call that sends nothing for ten seconds ends."""
    door = Door(fleet.clock.now)

    async def scenario(channel):
        (call,) = await half_open(channel, door, 1)
        fleet.clock.advance_to(fleet.clock.now() + 10)
        door.calls.expire()
        return await call.code(), list(door.calls)

    assert with_service(scenario, door) == (grpc.StatusCode.DEADLINE_EXCEEDED, [])
