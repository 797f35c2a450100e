"""A client's identity on its own disk: whole or not, private, renewed in time."""

from __future__ import annotations

import json
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.daemon.identity import (
    Identity,
    accepted,
    has_identity,
    load,
    renewed,
    request_certificate,
    save,
)
from antiphon.core.identity import IdentityError, key_hash
from antiphon.server.enrolment.authority import create_authority
from antiphon.server.enrolment.requests import requested_key
from antiphon.v1 import enrolment_pb2

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """The root of the fleet `ward`."""
    return create_authority(tmp_path_factory.mktemp("ca"), "ward", None, time.time())


@pytest.fixture
def answered(authority):
    """Answer a request as the coordinator would."""

    def answer(request, name="edge", now=None):
        key = requested_key(request.der)
        leaf = authority.issue_client(name, key, time.time() if now is None else now, DAY_S)
        return enrolment_pb2.Certificate(
            certificate=leaf.public_bytes(Encoding.DER),
            roots=[authority.root.public_bytes(Encoding.DER)],
            client=name,
            fleet="ward",
            coordinator_port=8470,
        )

    return answer


@pytest.fixture
def joined(answered, tmp_path):
    """An identity that was made now and saved in the test's folder."""
    request = request_certificate(tmp_path)
    identity = accepted(answered(request), request, enrolment="hub:8471", host="hub")
    save(tmp_path, identity)
    return identity


def test_round_trip(joined, tmp_path):
    """What was saved is loaded."""
    assert load(tmp_path) == joined
    assert (joined.coordinator, joined.enrolment) == ("hub:8470", "hub:8471")


def test_private(joined, tmp_path):
    """Only the owner can read the identity, and nothing else is left in the folder."""
    (file,) = tmp_path.iterdir()

    assert file.stat().st_mode & 0o777 == 0o600


def test_key_is_not_shown(joined):
    """An identity that ends up in a log does not show its key."""
    assert "PRIVATE KEY" not in repr(joined)


def test_nothing_there(tmp_path):
    """Without an identity the message says how to join."""
    assert not has_identity(tmp_path)
    with pytest.raises(IdentityError, match="antiphon token create"):
        load(tmp_path)


@pytest.mark.parametrize("change", [{"key": "x"}, {"certificate": ""}, {"surplus": 1}], ids=str)
def test_damaged(joined, tmp_path, change):
    """A file that is damaged is said to be so."""
    file = tmp_path / "identity.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))

    with pytest.raises(IdentityError, match="damaged"):
        load(tmp_path)


def test_same_key_until_answered(tmp_path):
    """A request whose answer is lost is made again with the same key, also after a restart."""
    first, second = request_certificate(tmp_path), request_certificate(tmp_path)

    assert first.key.public_key() == second.key.public_key()


def test_new_key_afterwards(joined, tmp_path):
    """A renewal has a key of its own."""
    request = request_certificate(tmp_path)

    assert request.key.public_key() != joined.private_key().public_key()


def test_killed_after_saving(joined, tmp_path):
    """A pending key that is in use already, left by a kill in between, is not asked for again."""
    (tmp_path / "pending.pem").write_text(joined.key)

    request = request_certificate(tmp_path)

    assert request.key.public_key() != joined.private_key().public_key()


def test_broken_pending_key(tmp_path):
    """A pending key that cannot be read is replaced."""
    (tmp_path / "pending.pem").write_text("half a k")

    request = request_certificate(tmp_path)

    assert key_hash(requested_key(request.der)) == key_hash(request.key.public_key())


@given(life_s=st.integers(600, 30 * 86_400))
def test_renewal_time(authority, life_s):
    """Every certificate is renewed at two thirds of its life, five per cent earlier or later."""
    key = authority.key.public_key()
    leaf = authority.issue_client("edge", key, 1.8e9, life_s).public_bytes(Encoding.PEM).decode()
    identity = Identity("ward", "edge", "hub:1", "hub:2", leaf, "", "")

    begins = 1.8e9 - 300
    share = (identity.renew_at - begins) / (identity.expires_at - begins)

    assert 0.95 * 2 / 3 - 1e-6 <= share <= 1.05 * 2 / 3 + 1e-6
    assert not identity.renewal_due(identity.renew_at - 1)
    assert identity.renewal_due(identity.renew_at)


def test_dates(joined):
    """A certificate is good from five minutes before it was made until it runs out."""
    now = joined.expires_at - DAY_S

    joined.check_dates(now - 299)
    joined.check_dates(joined.expires_at)
    assert not joined.has_expired(joined.expires_at)


def test_ran_out(joined):
    """A certificate that has run out is said to have, with the time until which it can be renewed."""
    with pytest.raises(IdentityError, match=r"ran out on \d{4}-.* renewed until about \d{4}-"):
        joined.check_dates(joined.expires_at + 1)

    assert joined.has_expired(joined.expires_at + 1)


def test_wrong_clock(joined):
    """Where the clock is before the certificate's beginning, it is the clock that is named."""
    with pytest.raises(IdentityError, match="set the clock"):
        joined.check_dates(joined.expires_at - 3 * DAY_S)


def test_certificate_of_another_key(answered, tmp_path):
    """An answer to somebody else's request is refused."""
    other = answered(request_certificate(tmp_path / "other"))

    with pytest.raises(IdentityError, match="somebody else"):
        accepted(other, request_certificate(tmp_path), enrolment="hub:1", host="hub")


def test_certificate_of_no_root(answered, tmp_path):
    """An answer whose certificate is of none of its roots is refused."""
    request = request_certificate(tmp_path)
    reply = answered(request)
    del reply.roots[:]

    with pytest.raises(IdentityError, match="somebody else"):
        accepted(reply, request, enrolment="hub:1", host="hub")


def test_unreadable_answer(tmp_path):
    """An answer without a certificate is refused."""
    with pytest.raises(IdentityError, match="not a certificate"):
        accepted(
            enrolment_pb2.Certificate(),
            request_certificate(tmp_path),
            enrolment="hub:1",
            host="hub",
        )


def test_renewed(joined, answered, tmp_path):
    """A renewal keeps the name and the addresses, and changes key and certificate."""
    request = request_certificate(tmp_path)

    new = renewed(joined, answered(request), request)

    assert (new.client, new.coordinator, new.enrolment) == ("edge", "hub:8470", "hub:8471")
    assert new.key != joined.key


def test_renewed_as_another(joined, answered, tmp_path):
    """A renewal under another name is refused."""
    request = request_certificate(tmp_path)

    with pytest.raises(IdentityError, match="got a certificate of other"):
        renewed(joined, answered(request, name="other"), request)
