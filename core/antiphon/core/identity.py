"""Who is who in a fleet: names, the URIs that certificates carry, pins, and what a renewal signs.

A name is all lower case, and safe as a part of a path, of a URI and of a host name. The URIs have the form
of SPIFFE identities: `spiffe://FLEET/coordinator` and `spiffe://FLEET/client/NAME`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from antiphon.core.errors import UserError

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
"""Keys that a client may have: on the curve P-256, or Ed25519."""

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the parser of certificates and requests raises for bytes of a peer, in its many ways."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SCHEME = "spiffe://"
_RENEWAL = b"antiphon renew expired v1\0"


class IdentityError(UserError):
    """A name, a token, a pin or a certificate cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Subject:
    """Who a certificate speaks of. role: `coordinator` or `client`; name: empty for a coordinator."""

    fleet: str
    role: str
    name: str = ""


def checked_name(name: str, what: str) -> str:
    """Return `name` if a fleet or a client may be called so; `what` it names goes into the error.

    Raises IdentityError.
    """
    if _NAME.fullmatch(name) is None:
        raise IdentityError(
            f"{what} {name[:80]!r} cannot be used: a name has 1 to 64 of a-z, 0-9, _ and -, "
            "and begins with a letter or a digit"
        )
    return name


def fleet_uri(fleet: str) -> str:
    """Return the URI that a fleet's root carries."""
    return f"{_SCHEME}{fleet}"


def coordinator_uri(fleet: str) -> str:
    """Return the URI of a fleet's coordinator."""
    return f"{_SCHEME}{fleet}/coordinator"


def client_uri(fleet: str, name: str) -> str:
    """Return the URI of a client."""
    return f"{_SCHEME}{fleet}/client/{name}"


def read_certificate(der: bytes) -> x509.Certificate:
    """Parse a certificate (X.509, DER). Raises IdentityError where it cannot be read."""
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE:
        raise IdentityError("not a certificate that can be read (X.509, DER)") from None


def key_of(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    """Return a certificate's public key. Raises IdentityError where it cannot be read."""
    try:
        return certificate.public_key()
    except UNREADABLE:
        raise IdentityError("a certificate whose key is of an unknown kind, or broken") from None


def is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Tell whether a root has signed a certificate; dates are not looked at."""
    try:
        certificate.verify_directly_issued_by(root)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def fleet_of(root: x509.Certificate) -> str:
    """Return the fleet that a root belongs to. Raises IdentityError where it is no fleet's root."""
    name = _only_uri(root).removeprefix(_SCHEME)
    return checked_name(name, "the root's fleet")


def caller_of(certificate: x509.Certificate) -> Subject:
    """Return whom a leaf speaks of; who signed it is not looked at.

    Raises IdentityError where it carries no URI of a coordinator or of a client.
    """
    fleet, _, path = _only_uri(certificate).removeprefix(_SCHEME).partition("/")
    checked_name(fleet, "the certificate's fleet")
    if path == "coordinator":
        return Subject(fleet, "coordinator")
    role, _, name = path.partition("/")
    if role != "client":
        raise IdentityError(f"the certificate speaks of {path[:80]!r}, expected client/NAME")
    return Subject(fleet, role, checked_name(name, "the certificate's client"))


def key_hash(key: PublicKey) -> bytes:
    """Return the SHA-256 of a public key's SubjectPublicKeyInfo, 32 bytes (RFC 7469, section 2.4)."""
    return _spki_hash(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def pin_of(root: x509.Certificate) -> str:
    """Return a root's pin, `sha256:` and 64 hex digits over its SubjectPublicKeyInfo.

    Raises IdentityError where its key cannot be read.
    """
    key = key_of(root)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{_spki_hash(spki).hex()}"


def renewal_statement(nonce: bytes, certificate_request: bytes) -> bytes:
    """Return what the old key signs to renew a certificate that has run out (enrolment.proto).

    nonce: 32 bytes; certificate_request: PKCS #10, DER.
    """
    return _RENEWAL + nonce + hashlib.sha256(certificate_request).digest()


def _spki_hash(spki: bytes) -> bytes:
    return hashlib.sha256(spki).digest()


def _only_uri(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, *UNREADABLE):
        uris = []
    if len(uris) != 1 or not uris[0].startswith(_SCHEME):
        raise IdentityError(
            "the certificate is not of an Antiphon fleet: expected one spiffe:// URI in it"
        )
    return uris[0]
