"""Certificate requests from the network: real ones, wrong ones, damaged ones."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
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


SIGNED = x509.load_der_x509_csr(GOOD).tbs_certrequest_bytes
FIRST_SIGNED = GOOD.index(SIGNED)


def damaged(at: int, flip: int) -> bytes:
    """Return a good request with one byte changed."""
    content = bytearray(GOOD)
    content[at] ^= flip
    return bytes(content)


@given(at=st.integers(FIRST_SIGNED, FIRST_SIGNED + len(SIGNED) - 1), flip=st.integers(1, 255))
def test_damaged_content(at, flip):
    """A request with any byte changed of what it asks for is refused: its signature covers all of it."""
    with pytest.raises(BadRequest):
        requested_key(damaged(at, flip))


@given(at=st.integers(0, len(GOOD) - 1), flip=st.integers(1, 255))
@example(at=FIRST_SIGNED + len(SIGNED) + 14, flip=1)
def test_damaged_anywhere(at, flip):
    """A request with any byte changed is refused, or still asks for the key that has signed it.

    The signature does not cover how it is written down itself: DER counts the unused bits behind it.
    """
    try:
        key = requested_key(damaged(at, flip))
    except BadRequest:
        return
    assert key_hash(key) == key_hash(CURVE_KEY.public_key())


@given(content=st.binary(max_size=200))
def test_noise(content):
    """Bytes that are no request are refused, and nothing else happens."""
    with pytest.raises(BadRequest):
        requested_key(content)
