"""Certificate requests from the network: real ones, wrong ones, damaged ones."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.identity import key_hash
from antiphon.server.enrolment.requests import MAX_BYTES, BadRequest, is_signed, requested_key

CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


def request_of(key, digest) -> bytes:
    """Return a request signed by a key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest).public_bytes(Encoding.DER)


GOOD = request_of(CURVE_KEY, hashes.SHA256())


def test_curve_key():
    """The key of a request is read from it."""
    assert key_hash(requested_key(GOOD)) == key_hash(CURVE_KEY.public_key())


def test_ed25519_key():
    """An Ed25519 key is accepted too, and its signatures are checked."""
    key = ed25519.Ed25519PrivateKey.generate()

    public = requested_key(request_of(key, None))

    assert is_signed(public, key.sign(b"content"), b"content")
    assert not is_signed(public, key.sign(b"content"), b"other")


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["rsa", "p384"],
)
def test_other_keys(key):
    """Keys of other kinds are refused."""
    with pytest.raises(BadRequest, match="P-256, or Ed25519"):
        requested_key(request_of(key, hashes.SHA256()))


def test_too_long():
    """A long request is refused before it is parsed."""
    with pytest.raises(BadRequest, match="8192 at most"):
        requested_key(b"\0" * (MAX_BYTES + 1))


@given(at=st.integers(0, len(GOOD) - 1), flip=st.integers(1, 255))
def test_damaged(at, flip):
    """A request with any byte changed is refused: its signature covers everything."""
    damaged = bytearray(GOOD)
    damaged[at] ^= flip

    with pytest.raises(BadRequest):
        requested_key(bytes(damaged))


@given(content=st.binary(max_size=200))
def test_noise(content):
    """Bytes that are no request are refused, and nothing else happens."""
    with pytest.raises(BadRequest):
        requested_key(content)
