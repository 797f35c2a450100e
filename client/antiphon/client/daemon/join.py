"""Becoming a client of a fleet, and staying one after a long absence.

A join token is worth a place in the fleet, so it is sent to nobody but the coordinator: first the chain
of certificates that the other side shows is read, over a connection that nothing else is sent on. Only when
the root in it is the one that the operator's pin names, a second connection is made, which trusts this root
alone.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.client.daemon.identity import (
    Identity,
    accepted,
    has_identity,
    load,
    renewed,
    request_certificate,
    save,
)
from antiphon.client.sent.book import Book, sent_folder
from antiphon.client.sent.ledger import LedgerError
from antiphon.client.sent.recorded import RecordedChannel, site_channel
from antiphon.core.identity import (
    UNREADABLE,
    IdentityError,
    fleet_of,
    is_issued_by,
    pin_of,
    read_certificate,
    renewal_statement,
)
from antiphon.v1 import enrolment_pb2, enrolment_pb2_grpc

TIMEOUT_S = 20.0
"""Of each call to the enrolment service, seconds."""

_PIN = re.compile(r"sha256:[0-9a-f]{64}")


async def join(
    address: str,
    token: str,
    ca: str,
    folder: Path,
    *,
    force: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Identity:
    """Exchange a token for an identity, and save it in `folder`.

    address: HOST:PORT of the enrolment service; ca: `sha256:…`, the root's pin, or the path of a PEM file
    with the root; force: replace the identity that is there. What leaves is noted in the ledger beside
    `folder`. Raises IdentityError where there is one
    already, where the other side is not the coordinator, or where it refuses. After a lost reply the same
    call goes on.
    """
    if has_identity(folder) and not force:
        raise IdentityError(_already(folder))
    host, port = split_address(address)
    root = await asyncio.to_thread(trusted_root, host, port, ca, timeout_s)
    request = request_certificate(folder)
    credentials = grpc.ssl_channel_credentials(root.public_bytes(Encoding.PEM))
    message = enrolment_pb2.EnrolRequest(token=token.strip(), certificate_request=request.der)
    async with site_channel(address, credentials, fleet_of(root), _book(folder)) as channel:
        reply = await _called(_stub(channel).Enrol, message, address, timeout_s)
    if pin_of(root) not in [pin_of(each) for each in map(read_certificate, reply.roots)]:
        raise IdentityError(
            "the coordinator's answer is of another fleet than its root: ask the operator"
        )
    identity = accepted(reply, request, enrolment=address, host=address.rpartition(":")[0])
    save(folder, identity)
    return identity


async def renew_expired(old: Identity, folder: Path, *, timeout_s: float = TIMEOUT_S) -> Identity:
    """Renew a certificate that has run out, by signing with its key; save and return the new identity.

    What leaves is noted in the ledger beside `folder`. Raises IdentityError where the coordinator cannot
    be reached or refuses.
    """
    request = request_certificate(folder)
    book = _book(folder)
    async with site_channel(old.enrolment, old.root_credentials(), old.fleet, book) as channel:
        stub = _stub(channel)
        challenge = await _called(
            stub.Challenge, enrolment_pb2.ChallengeRequest(), old.enrolment, timeout_s
        )
        statement = renewal_statement(challenge.nonce, request.der)
        message = enrolment_pb2.RenewExpiredRequest(
            certificate=old.leaf.public_bytes(Encoding.DER),
            certificate_request=request.der,
            nonce=challenge.nonce,
            signature=old.private_key().sign(statement, ec.ECDSA(hashes.SHA256())),
        )
        reply = await _called(stub.RenewExpired, message, old.enrolment, timeout_s)
    identity = renewed(old, reply, request)
    save(folder, identity)
    return identity


def trusted_root(host: str, port: int, ca: str, timeout_s: float = TIMEOUT_S) -> x509.Certificate:
    """Return the fleet's root: the one of the server's chain that has the pin, or what a PEM file holds.

    Sends nothing but a TLS handshake. Raises IdentityError where the pin is no pin, where the server cannot
    be reached, or where no certificate of its chain has the pin.
    """
    if not ca.startswith("sha256:"):
        return _root_in(Path(ca))
    pin = ca.strip().lower()
    if _PIN.fullmatch(pin) is None:
        raise IdentityError(f"{ca[:80]!r} is no pin: expected sha256: and 64 hex digits")
    return pinned_root(presented_chain(host, port, timeout_s), pin, f"{host}:{port}")


def pinned_root(chain: Sequence[x509.Certificate], pin: str, address: str) -> x509.Certificate:
    """Return the root of a chain that `address` has shown, leaf first: the one that has the pin.

    Raises IdentityError where there is none.
    """
    for certificate in chain:
        if pin_of(certificate) == pin and is_issued_by(certificate, certificate):
            return certificate
    raise IdentityError(
        f"{address} is not the coordinator that the pin names: its root is {pin_of(chain[-1])}, "
        f"expected {pin}. The token was not sent. Check the address, and that nobody is between you "
        "and it"
    )


def presented_chain(host: str, port: int, timeout_s: float) -> list[x509.Certificate]:
    """Return the certificates that a TLS server shows, leaf first; none of them is verified here.

    Raises IdentityError where nothing answers, or where this Python cannot show a chain.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            chain = [read_certificate(each) for each in _chain(connection)]
    except (OSError, ValueError) as error:
        raise IdentityError(
            f"cannot reach the enrolment service at {host}:{port}: {error}. Check the address, and that "
            "`antiphon serve` runs there"
        ) from None
    if not chain:
        raise IdentityError(f"{host}:{port} shows no certificate: it is no enrolment service")
    return chain


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; an IPv6 host stands in brackets. Raises IdentityError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise IdentityError(f"{address[:80]!r} is no address: expected HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _chain(connection: ssl.SSLSocket) -> list[bytes]:
    public: Any = getattr(connection, "get_unverified_chain", None)  # Python 3.13
    if public is not None:
        return list(public())
    hidden: Any = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", None)
    if hidden is None:
        raise IdentityError(
            "this Python cannot show a server's chain of certificates: copy the fleet's roots.pem here and "
            "give its path as --ca"
        )
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in hidden() or ()]


def _root_in(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, *UNREADABLE) as error:
        raise IdentityError(
            f"--ca must be sha256:… or a PEM file with the fleet's root, got {str(file)[:80]!r}: {error}"
        ) from None


def _already(folder: Path) -> str:
    try:
        old = load(folder)
    except IdentityError as error:
        return str(error)
    return (
        f"this machine is the client {old.client} of the fleet {old.fleet} already: "
        "give --force to make it another, or --home for a second one"
    )


def _book(folder: Path) -> Book:
    try:
        return Book(sent_folder(folder.parent), time.time)
    except LedgerError as error:
        raise IdentityError(str(error)) from None


def _stub(channel: RecordedChannel) -> Any:
    return enrolment_pb2_grpc.EnrolmentStub(channel)


async def _called(call: Any, message: Any, address: str, timeout_s: float) -> Any:
    try:
        return await call(message, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        said = (error.details() or "")[:200]
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            said = f"cannot reach the enrolment service at {address} ({said}): try again later"
        raise IdentityError(said or f"the coordinator refused: {error.code().name}") from None
    except LedgerError as error:
        raise IdentityError(str(error)) from None
