"""The one who lets machines into the fleet: checks what they show, signs, and writes the ledger.

Its methods use the processor and wait for the disk: call them beside the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import (
    UNREADABLE,
    IdentityError,
    PublicKey,
    Subject,
    caller_of,
    is_issued_by,
    key_hash,
    read_certificate,
    renewal_statement,
)
from antiphon.server.enrolment.authority import Authority
from antiphon.server.enrolment.ledger import ClientRefused, Issued, Ledger
from antiphon.server.enrolment.nonces import Nonces
from antiphon.server.enrolment.requests import (
    MAX_BYTES,
    BadRequest,
    is_accepted,
    is_signed,
    requested_key,
)
from antiphon.server.enrolment.tokens import parsed
from antiphon.v1 import enrolment_pb2

TTL_S = 86_400.0
"""Life of a client's certificate unless the coordinator's settings say otherwise, seconds."""

GRACE_S = 30 * 86_400.0
"""Time after its end in which a certificate can be renewed, likewise, seconds."""


class NotProven(AntiphonError):
    """The caller has not shown that it holds the key of a certificate of this fleet."""


class Registrar:
    """Signs for one fleet.

    now: seconds since the Unix epoch; random: gives unpredictable bytes; coordinator_port: told to the
    clients; ttl_s, grace_s: see TTL_S and GRACE_S; elapsed: seconds of a clock that is never set, for what
    lives as long as this object; none: `now`.
    """

    def __init__(
        self,
        authority: Authority,
        ledger: Ledger,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        *,
        coordinator_port: int,
        ttl_s: float = TTL_S,
        grace_s: float = GRACE_S,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        """Begin with no nonce given."""
        self.authority, self.ledger = authority, ledger
        self.nonces = Nonces(elapsed or now, random)
        self._now, self._port, self._ttl_s, self._grace_s = now, coordinator_port, ttl_s, grace_s

    def enrol(self, token: str, request: bytes) -> enrolment_pb2.Certificate:
        """Exchange a join token for a certificate. Raises TokenRefused, BadRequest."""
        key = requested_key(request)
        identifier, secret = parsed(token)
        client, der = self.ledger.redeem(
            identifier,
            secret,
            key_hash(key),
            self._now(),
            lambda name: self._issued(name, key),
        )
        return self._answer(client, der)

    def renew(self, client: str, request: bytes) -> enrolment_pb2.Certificate:
        """Give a client a new certificate; its old one has been checked.

        Raises ClientRefused, BadRequest.
        """
        key = requested_key(request)
        der = self.ledger.renew(client, self._now(), lambda: self._issued(client, key))
        return self._answer(client, der)

    def renew_expired(
        self, certificate: bytes, request: bytes, nonce: bytes, signature: bytes
    ) -> enrolment_pb2.Certificate:
        """Renew a certificate that has run out, for whoever signs our nonce with its key.

        Raises BadRequest, NotProven, and ClientRefused where it is revoked or has run out for too long.
        """
        requested_key(request)
        old = _parsed(certificate)
        caller, key = self._ours(old)
        proven = is_signed(key, signature, renewal_statement(nonce, request))
        if not proven or not self.nonces.spend(nonce):
            raise NotProven("the nonce is not signed by the key of a certificate of this fleet")
        if self.ledger.is_revoked(serial_of(old), caller.name):
            raise ClientRefused(f"the client {caller.name} is revoked: it needs a new join token")
        self._check_grace(old)
        return self.renew(caller.name, request)

    def _issued(self, name: str, key: PublicKey) -> Issued:
        leaf = self.authority.issue_client(name, key, self._now(), self._ttl_s)
        start, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        return Issued(serial_of(leaf), key_hash(key), start, end, leaf.public_bytes(Encoding.DER))

    def _answer(self, client: str, der: bytes) -> enrolment_pb2.Certificate:
        roots = [root.public_bytes(Encoding.DER) for root in self.authority.roots]
        return enrolment_pb2.Certificate(
            certificate=der,
            roots=roots,
            client=client,
            fleet=self.authority.fleet,
            coordinator_port=self._port,
        )

    def _ours(self, certificate: x509.Certificate) -> tuple[Subject, PublicKey]:
        try:
            caller, key = caller_of(certificate), certificate.public_key()
        except (IdentityError, *UNREADABLE):
            raise NotProven("the certificate names no client") from None
        signed = any(is_issued_by(certificate, root) for root in self.authority.roots)
        if not signed or caller != Subject(self.authority.fleet, "client", caller.name):
            raise NotProven("the certificate is not of a client of this fleet")
        if not is_accepted(key):
            raise NotProven("the certificate's key is of another kind")
        return caller, key

    def _check_grace(self, certificate: x509.Certificate) -> None:
        end = certificate.not_valid_after_utc
        if self._now() > end.timestamp() + self._grace_s:
            today = datetime.fromtimestamp(self._now(), UTC)
            raise ClientRefused(
                f"the certificate ran out {(today - end).days} days ago, and can be renewed for "
                f"{self._grace_s / 86_400:g} days: join again with a new token"
            )


def serial_of(certificate: x509.Certificate) -> str:
    """Return a certificate's serial number as the ledger writes it, hex."""
    return f"{certificate.serial_number:x}"


def _parsed(certificate: bytes) -> x509.Certificate:
    if len(certificate) > MAX_BYTES:
        raise BadRequest(f"a certificate of {len(certificate)} bytes, expected {MAX_BYTES} at most")
    try:
        return read_certificate(certificate)
    except IdentityError as error:
        raise BadRequest(str(error)) from None
