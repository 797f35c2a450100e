"""What a machine sends to be given a certificate: a request with its public key (PKCS #10, RFC 2986)."""

from __future__ import annotations

from typing import TypeGuard

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import UNREADABLE, PublicKey

MAX_BYTES = 8 << 10
"""Of a request or of a certificate; ours have a few hundred."""


class BadRequest(AntiphonError):
    """What arrived is not a certificate request, or not one that this fleet signs."""


def requested_key(request: bytes) -> PublicKey:
    """Return the public key of a request (DER) whose sender has shown to hold the private one.

    The names and extensions that it asks for are ignored. Raises BadRequest where it is no request, where
    its signature is not its key's, or where the key is neither on P-256 nor Ed25519.
    """
    if len(request) > MAX_BYTES:
        raise BadRequest(
            f"a certificate request of {len(request)} bytes, expected {MAX_BYTES} at most"
        )
    try:
        parsed = x509.load_der_x509_csr(request)
        key = parsed.public_key()
        genuine = parsed.is_signature_valid
    except (*UNREADABLE, InvalidSignature):
        raise BadRequest("not a certificate request that can be read (PKCS #10, DER)") from None
    if not is_accepted(key):
        raise BadRequest("the key of a certificate request must be on the curve P-256, or Ed25519")
    if not genuine:
        raise BadRequest("the certificate request is not signed by its own key")
    return key


def is_accepted(key: object) -> TypeGuard[PublicKey]:
    """Tell whether a client may have such a key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    return isinstance(key, ed25519.Ed25519PublicKey)


def is_signed(key: PublicKey, signature: bytes, content: bytes) -> bool:
    """Tell whether `signature` over `content` is the key's: ECDSA with SHA-256 (DER), or Ed25519."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, content)
        else:
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
