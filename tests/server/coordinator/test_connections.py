"""Who gets through to the coordinator, and what a connection may carry."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.server.coordinator.conftest import (
    PATIENCE_S,
    Site,
    certify,
    channel_of,
    refusal,
    sites,
    until,
)

from antiphon.core.channel import coordinator_name
from antiphon.server.enrolment.authority import create_authority
from antiphon.server.enrolment.fleet import Fleet
from antiphon.server.enrolment.ledger import Ledger
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc

UNARY = [
    "Hello", "Join", "NextTask", "UploadStatus", "SubmitUpdate", "SubmitAnswer", "SubmitEvaluation",
    "ReportFailure", "Leave", "Renew",
]  # fmt: skip


def pem(key: ec.EllipticCurvePrivateKey, certificate) -> tuple[bytes, bytes]:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def of_another_fleet(fleet: Fleet) -> tuple[bytes, bytes]:
    folder = fleet.folder.parent / "other"
    authority = create_authority(folder, "testers", None, time.time())
    other = Fleet(folder, authority, Ledger(folder / "fleet.sqlite", new=True))
    try:
        return certify(other, "north")
    finally:
        other.close()


def run_out(fleet: Fleet) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    begun = time.time() - 7 * 86_400
    return pem(key, fleet.authority.issue_client("north", key.public_key(), begun, 3600.0))


def of_a_server(fleet: Fleet) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    return pem(key, fleet.authority.issue_coordinator(key.public_key(), time.time(), 3600.0))


def none_at_all(fleet: Fleet) -> None:
    return None


@pytest.mark.parametrize("shown", [none_at_all, of_another_fleet, run_out, of_a_server])
def test_a_wrong_certificate_reaches_no_method(serve, shown):
    """Neither none, nor another fleet's, nor one that has run out, nor a server's is let in."""

    async def scenario():
        async with serve() as running:
            async with channel_of(running, shown(running.fleet)) as channel:
                stub = coordinator_pb2_grpc.CoordinatorStub(channel)
                requests = [getattr(pb, f"{name}Request")() for name in UNARY]
                calls = [getattr(stub, n)(r) for n, r in zip(UNARY, requests, strict=True)]
                codes = [(await refusal(call))[0] for call in calls]
            async with sites(running, "honest") as (honest,):
                await honest.join()
            return codes

    assert set(asyncio.run(scenario())) == {grpc.StatusCode.UNAVAILABLE}


def test_a_revoked_client_is_refused_with_the_reason(serve):
    """Its certificate passes TLS; the call does not pass."""

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            running.fleet.ledger.revoke("north", time.time())
            return await refusal(north.stub.Hello(pb.HelloRequest()))

    code, reason = asyncio.run(scenario())

    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert reason == "the certificate of north is revoked"


def test_a_client_that_is_revoked_while_it_waits_is_cut_off(serve):
    """Its open call ends within two seconds; the others go on."""

    async def scenario():
        async with (
            serve("cohort.quorum=1") as running,
            sites(running, "north", "mallory") as (north, mallory),
        ):
            await asyncio.gather(north.join(), mallory.join())
            await asyncio.gather(north.next("train"), mallory.next("train"))
            waiting = asyncio.ensure_future(mallory.poll(10.0, working_on_round=1))
            await until(lambda: running.coordinator.admission.engine.desk._waiting)
            running.fleet.ledger.revoke("mallory", time.time())
            refused = await asyncio.wait_for(refusal(waiting), 2.5)
            return refused, (await north.work_a_round()).verdict

    (code, reason), verdict = asyncio.run(scenario())

    assert (code, reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "the certificate of mallory is revoked",
    )
    assert verdict == pb.SubmitUpdateResponse.ACCEPTED


def test_a_second_coordinator_on_the_same_port_fails(serve):
    """Two must never share a port: the second says that it cannot listen."""

    async def scenario():
        async with serve() as running:
            with pytest.raises(Exception, match="cannot listen on"):
                async with serve(listen=running.address):
                    pass

    asyncio.run(scenario())


def test_a_second_coordinator_on_the_same_run_fails(serve):
    """Its journal has one writer."""

    async def scenario():
        async with serve() as running:
            with pytest.raises(Exception, match="another process"):
                async with serve(folder=running.folder):
                    pass

    asyncio.run(scenario())


async def answered_after(serve, call):
    """Make a call, of (site), that should be refused; return how, and that the next one is answered."""
    async with serve() as running, sites(running, "mallory", "north") as (mallory, north):
        await asyncio.gather(mallory.join(), north.join())
        refused = await refusal(call(mallory))
        return refused[0], (await north.next("train")) is not None


def raw_channel(site: Site, *options: tuple[str, int]) -> grpc.aio.Channel:
    """A channel of a client that has set limits of its own."""
    fleet = site.running.fleet
    root = fleet.authority.roots[0].public_bytes(serialization.Encoding.PEM)
    named = ("grpc.ssl_target_name_override", coordinator_name("testers"))
    credentials = grpc.ssl_channel_credentials(root, *certify(fleet, "raw"))
    return grpc.aio.secure_channel(site.running.address, credentials, options=[*options, named])


def test_a_message_over_the_limit_is_refused(serve):
    """Four mebibytes, and not more: the coordinator does not read on."""

    async def call(site):
        async with raw_channel(site, ("grpc.max_send_message_length", -1)) as channel:
            stub = coordinator_pb2_grpc.CoordinatorStub(channel)
            request = pb.SubmitUpdateRequest(update=b"x" * (4 << 20))
            return await stub.SubmitUpdate(request, timeout=PATIENCE_S)

    code, goes_on = asyncio.run(answered_after(serve, call))

    assert (code, goes_on) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


def test_a_compressed_message_is_refused(serve):
    """Nothing is inflated, so nothing can inflate."""

    async def call(site):
        async with raw_channel(site) as channel:
            stub = coordinator_pb2_grpc.CoordinatorStub(channel)
            request = pb.SubmitUpdateRequest(update=b"\0" * (1 << 20))
            return await stub.SubmitUpdate(
                request, compression=grpc.Compression.Gzip, timeout=PATIENCE_S
            )

    code, goes_on = asyncio.run(answered_after(serve, call))

    assert (code, goes_on) == (grpc.StatusCode.UNIMPLEMENTED, True)


def test_metadata_over_the_limit_is_refused(serve):
    """Twenty kilobytes of headers do not reach a handler."""

    async def call(site):
        headers = (("x-filler", "x" * 20_000),)
        return await site.stub.Hello(pb.HelloRequest(), metadata=headers, timeout=PATIENCE_S)

    code, goes_on = asyncio.run(answered_after(serve, call))

    assert goes_on
    assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)


@pytest.mark.slow
def test_a_connection_that_never_ends_its_handshake_is_closed(serve):
    """Silent from the start, silent after TLS's first message, or a byte a second."""

    async def drip(port: int, first: bytes) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        closed = asyncio.ensure_future(reader.read(-1))
        for at in range(min(len(first), int(PATIENCE_S))):
            writer.write(first[at : at + 1])
            await asyncio.wait([closed], timeout=1.0)
            if closed.done():
                break
        await asyncio.wait([closed], timeout=PATIENCE_S)
        writer.close()
        return closed.done() and closed.exception() is None

    async def scenario():
        async with serve() as running:
            port, hello = running.where.coordinator, client_hello()
            return await asyncio.gather(drip(port, b""), drip(port, hello[:1]), drip(port, hello))

    assert asyncio.run(scenario()) == [True, True, True]


def client_hello() -> bytes:
    """The first bytes of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_noise_on_the_port_is_closed(serve):
    """What is no TLS is not answered, and hurts nobody."""

    def noise(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
            line.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 1000)
            received = b""
            while part := line.recv(4096):
                received += part
            return received

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            try:
                received = await asyncio.to_thread(noise, running.where.coordinator)
            except ConnectionResetError:
                received = b""
            await north.join()
            return received

    assert b"HTTP" not in asyncio.run(scenario())
