"""The registrar: who is let in, under which name, and who is not."""

import secrets
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.identity import caller_of, key_hash, renewal_statement
from antiphon.server.enrolment.ledger import ClientRefused, TokenRefused
from antiphon.server.enrolment.registrar import GRACE_S, TTL_S, NotProven, Registrar
from antiphon.server.enrolment.requests import BadRequest

REQUEST = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(Encoding.DER)
)


def renew(fleet, leaf, key, *, nonce=None, request=None, signed=None):
    """Renew a certificate that has run out, as its client would; arguments replace parts of the proof."""
    nonce = fleet.registrar.nonces.give() if nonce is None else nonce
    request = fleet.request() if request is None else request
    statement = renewal_statement(nonce, request) if signed is None else signed
    signature = key.sign(statement, ec.ECDSA(hashes.SHA256()))
    der = leaf.public_bytes(Encoding.DER)
    return fleet.registrar.renew_expired(der, request, nonce, signature)


def later(fleet, seconds):
    """Let time go by."""
    fleet.clock.advance_to(fleet.clock.now() + seconds)


def test_the_token_names_the_client(fleet):
    """The name comes from the token, whatever the request asks for."""
    key = ec.generate_private_key(ec.SECP256R1())

    reply = fleet.registrar.enrol(fleet.token("edge"), fleet.request(key, name="coordinator"))

    leaf = x509.load_der_x509_certificate(reply.certificate)
    assert (reply.client, caller_of(leaf).name, reply.fleet) == ("edge", "edge", "ward")
    assert key_hash(leaf.public_key()) == key_hash(key.public_key())


def test_answer(fleet):
    """The answer carries the fleet's roots and where the coordinator listens."""
    reply = fleet.registrar.enrol(fleet.token(), fleet.request())

    assert list(reply.roots) == [fleet.authority.root.public_bytes(Encoding.DER)]
    assert reply.coordinator_port == 8470


@pytest.mark.parametrize("token", ["", "a.b", "x" * 5000, "aaaaaaaa." + "a" * 32])
def test_not_a_token(fleet, token):
    """Text that is no token, or nobody's, is refused."""
    with pytest.raises(TokenRefused):
        fleet.registrar.enrol(token, fleet.request())


def test_bad_request_costs_no_use(fleet):
    """A token that came with a broken request can still be used."""
    token = fleet.token()
    with pytest.raises(BadRequest):
        fleet.registrar.enrol(token, b"broken")

    assert fleet.registrar.enrol(token, fleet.request()).client == "edge"


def test_renewal(fleet):
    """A renewed certificate is of the new key, and in the ledger."""
    fleet.enrolled("edge")

    reply = fleet.registrar.renew("edge", fleet.request())

    serial = x509.load_der_x509_certificate(reply.certificate).serial_number
    assert not fleet.ledger.is_revoked(f"{serial:x}", "edge")


@pytest.mark.parametrize("after_s", [TTL_S + 1, TTL_S + GRACE_S - 60])
def test_within_the_grace(fleet, after_s):
    """Whoever holds the old key gets a new certificate until the grace is over."""
    leaf, key = fleet.enrolled("edge")
    later(fleet, after_s)

    assert renew(fleet, leaf, key).client == "edge"


def test_after_the_grace(fleet):
    """After the grace a new token is needed."""
    leaf, key = fleet.enrolled("edge")
    later(fleet, TTL_S + GRACE_S + 60)

    with pytest.raises(ClientRefused, match=r"30 days ago.*join again"):
        renew(fleet, leaf, key)


def test_revoked_while_away(fleet):
    """A client that was revoked while its certificate ran out stays revoked."""
    leaf, key = fleet.enrolled("edge")
    fleet.ledger.revoke("edge", fleet.clock.now())

    with pytest.raises(ClientRefused, match="revoked"):
        renew(fleet, leaf, key)


def test_used_nonce(fleet):
    """What was sent once cannot be sent again."""
    leaf, key = fleet.enrolled("edge")
    nonce, request = fleet.registrar.nonces.give(), fleet.request()
    renew(fleet, leaf, key, nonce=nonce, request=request)

    with pytest.raises(NotProven):
        renew(fleet, leaf, key, nonce=nonce, request=request)


def test_failed_proof_spends_no_nonce(fleet):
    """Who has seen a nonce cannot use it up without the key."""
    leaf, key = fleet.enrolled("edge")
    nonce = fleet.registrar.nonces.give()
    with pytest.raises(NotProven):
        renew(fleet, leaf, ec.generate_private_key(ec.SECP256R1()), nonce=nonce)

    assert renew(fleet, leaf, key, nonce=nonce).client == "edge"


def test_signature_covers_the_request(fleet):
    """A proof cannot be used for somebody else's request."""
    leaf, key = fleet.enrolled("edge")
    nonce = fleet.registrar.nonces.give()
    signed = renewal_statement(nonce, fleet.request())

    with pytest.raises(NotProven):
        renew(fleet, leaf, key, nonce=nonce, signed=signed)


def test_other_fleets_certificate(fleet, make_fleet):
    """A certificate of another fleet's root is refused, also where the name is the same."""
    leaf, key = make_fleet("other").enrolled("edge")
    fleet.enrolled("edge")

    with pytest.raises(NotProven):
        renew(fleet, leaf, key)


def test_coordinators_certificate(fleet):
    """The coordinator's own certificate renews nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = fleet.authority.issue_coordinator(key.public_key(), time.time(), 60.0)

    with pytest.raises(NotProven):
        renew(fleet, leaf, key)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_damaged_certificate(fleet_authority, at, flip):
    """A certificate with a byte changed is refused in one of two ways, whatever the byte."""
    registrar = Registrar(fleet_authority, None, time.time, secrets.token_bytes, coordinator_port=1)
    key = fleet_authority.key.public_key()
    leaf = fleet_authority.issue_client("edge", key, time.time(), 60.0)
    damaged = bytearray(leaf.public_bytes(Encoding.DER))
    damaged[at % len(damaged)] ^= flip

    with pytest.raises((BadRequest, NotProven)):
        registrar.renew_expired(bytes(damaged), REQUEST, b"", b"")


@pytest.mark.parametrize("certificate", [b"", b"noise", b"\0" * 10_000])
def test_not_a_certificate(fleet, certificate):
    """Bytes that are no certificate are refused."""
    with pytest.raises(BadRequest):
        fleet.registrar.renew_expired(certificate, fleet.request(), b"", b"")
