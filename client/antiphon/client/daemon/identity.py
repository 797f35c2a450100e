"""Who this machine is in its fleet: its key, its certificate, the roots that it trusts, and where to call.

All of it is one file, `identity.json`, so that it is there whole or not at all. The key is made here and
never leaves the machine. The key of a request that is under way lies beside it (`pending.pem`): when the
answer is lost, the same key is sent again and no use of a token is wasted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from antiphon.core.home import client_folder, write_private
from antiphon.core.identity import (
    UNREADABLE,
    IdentityError,
    Subject,
    caller_of,
    is_issued_by,
    key_of,
    read_certificate,
)
from antiphon.core.json_text import json_text
from antiphon.v1 import enrolment_pb2

USUAL_GRACE = timedelta(days=30)
"""For how long after its end a certificate can be renewed, where the operator has not set another time."""

_RENEW_AT = 2 / 3  # of a certificate's life
_SPREAD = 0.05  # of that time, either way: a fleet that joined together does not renew together


@dataclass(frozen=True)
class Identity:
    """A client's identity. coordinator, enrolment: HOST:PORT; key, certificate, roots: PEM."""

    fleet: str
    client: str
    coordinator: str
    enrolment: str
    certificate: str
    roots: str
    key: str = field(repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate, parsed."""
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def expires_at(self) -> float:
        """When the certificate runs out, seconds since the Unix epoch."""
        return self.leaf.not_valid_after_utc.timestamp()

    @property
    def renew_at(self) -> float:
        """When it is time to renew: at two thirds of the certificate's life, ± 5 %.

        Seconds since the Unix epoch. The spread is drawn from the serial number, which is random: the same
        moment at every call and after a restart.
        """
        leaf = self.leaf
        begins = leaf.not_valid_before_utc.timestamp()
        spread = _SPREAD * (2 * (leaf.serial_number % 10_007) / 10_006 - 1)
        return begins + _RENEW_AT * (1 + spread) * (self.expires_at - begins)

    def renewal_due(self, now: float) -> bool:
        """Tell whether it is time to renew; `now`: seconds since the Unix epoch."""
        return now >= self.renew_at

    def has_expired(self, now: float) -> bool:
        """Tell whether the certificate has run out; it can be renewed without it then (join.py)."""
        return now > self.expires_at

    def is_early(self, now: float) -> bool:
        """Tell whether the certificate is not valid yet: one of the two clocks was, or is, wrong."""
        return now < self.leaf.not_valid_before_utc.timestamp()

    def check_dates(self, now: float) -> None:
        """Raise IdentityError where the certificate does not hold now; TLS would not say why."""
        leaf, moment = self.leaf, datetime.fromtimestamp(now, UTC)
        end = leaf.not_valid_after_utc
        if moment > end:
            raise IdentityError(
                f"your certificate ran out on {_day(end)}; it can be renewed until about "
                f"{_day(end + USUAL_GRACE)} (`antiphon client` does), after that with a new token only"
            )
        if moment < leaf.not_valid_before_utc:
            raise IdentityError(
                f"your certificate is valid from {_day(leaf.not_valid_before_utc)}, and this machine's "
                f"clock says {_day(moment)}: set the clock (where it is right, the coordinator's was "
                "wrong, and `antiphon client` asks for a new certificate)"
            )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel to the coordinator shows and trusts."""
        return grpc.ssl_channel_credentials(
            self.roots.encode(), self.key.encode(), self.certificate.encode()
        )

    def root_credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel trusts that shows nothing: for the enrolment service."""
        return grpc.ssl_channel_credentials(self.roots.encode())

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key, parsed."""
        return _parsed_key(self.key.encode())


@dataclass(frozen=True)
class CertificateRequest:
    """A certificate request that is under way. der: PKCS #10."""

    der: bytes
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def identity_folder(home: Path) -> Path:
    """Return where a machine keeps its identity."""
    return client_folder(home) / "identity"


def has_identity(folder: Path) -> bool:
    """Tell whether this machine has joined a fleet."""
    return _file(folder).is_file()


def load(folder: Path) -> Identity:
    """Read the identity. Raises IdentityError where there is none, or it is damaged."""
    file = _file(folder)
    try:
        identity = Identity(**json.loads(file.read_text(encoding="utf-8")))
        belongs = identity.private_key().public_key() == identity.leaf.public_key()
    except FileNotFoundError:
        raise IdentityError(
            f"this machine has not joined a fleet (no {file}): paste the line that "
            "`antiphon token create` printed at the coordinator"
        ) from None
    except (*UNREADABLE, AttributeError, RecursionError):
        belongs = False
    if not belongs:
        raise IdentityError(f"{file} is damaged: join again with a new token and --force")
    return identity


def save(folder: Path, identity: Identity) -> None:
    """Write the identity, whole or not at all; the request that led to it is not under way any more."""
    write_private(_file(folder), json_text(asdict(identity), indent=1).encode())
    _pending(folder).unlink(missing_ok=True)


def request_certificate(folder: Path) -> CertificateRequest:
    """Return a request for a new key. It is the same key until an identity is saved."""
    key = _pending_key(folder)
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(_pending(folder), _pem(key))
    # The names are the coordinator's to give; a request must have some subject, an empty one will do.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return CertificateRequest(request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER), key)


def accepted(
    reply: enrolment_pb2.Certificate, request: CertificateRequest, *, enrolment: str, host: str
) -> Identity:
    """Return the identity that an answer to `request` makes.

    enrolment: HOST:PORT that was joined; host: where the coordinator is. Raises IdentityError where the
    answer does not fit: a certificate for another key or name, or of none of the roots beside it.
    """
    leaf, roots = read_certificate(reply.certificate), [*map(read_certificate, reply.roots)]
    same_key = key_of(leaf) == request.key.public_key()
    named = caller_of(leaf) == Subject(reply.fleet, "client", reply.client)
    if not (same_key and named and any(is_issued_by(leaf, root) for root in roots)):
        raise IdentityError(
            "the coordinator's answer is a certificate for somebody else: try again"
        )
    return Identity(
        fleet=reply.fleet,
        client=reply.client,
        coordinator=f"{host}:{reply.coordinator_port}",
        enrolment=enrolment,
        certificate=leaf.public_bytes(Encoding.PEM).decode(),
        roots="".join(root.public_bytes(Encoding.PEM).decode() for root in roots),
        key=_pem(request.key).decode(),
    )


def renewed(
    old: Identity, reply: enrolment_pb2.Certificate, request: CertificateRequest
) -> Identity:
    """Return the identity after a renewal. Raises IdentityError where it is not the same client's."""
    host = old.coordinator.rpartition(":")[0]
    identity = accepted(reply, request, enrolment=old.enrolment, host=host)
    if (identity.fleet, identity.client) != (old.fleet, old.client):
        raise IdentityError(
            f"asked to renew {old.client} of {old.fleet}, got a certificate of {identity.client} of "
            f"{identity.fleet}: ask the operator"
        )
    return identity


def _file(folder: Path) -> Path:
    return folder / "identity.json"


def _pending(folder: Path) -> Path:
    return folder / "pending.pem"


def _pending_key(folder: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        pem = _pending(folder).read_bytes()
        key = _parsed_key(pem)
    except (FileNotFoundError, ValueError):
        return None
    if has_identity(folder) and _is_in_use(folder, key):
        return None  # saved, and then killed before the pending key was removed
    return key


def _is_in_use(folder: Path, key: ec.EllipticCurvePrivateKey) -> bool:
    try:
        return load(folder).private_key().public_key() == key.public_key()
    except IdentityError:
        return False


def _parsed_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not on an elliptic curve")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
