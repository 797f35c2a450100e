"""The root and the leaves that it signs: real keys, real files."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.authority import create_authority, open_authority


def extension(certificate, kind):
    """Return what an extension of a certificate says."""
    return certificate.extensions.get_extension_for_class(kind).value


def test_root(fleet_authority):
    """The root signs itself, may sign leaves only, and holds for ten years."""
    root = fleet_authority.root

    root.verify_directly_issued_by(root)
    assert extension(root, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=0)
    assert root.not_valid_after_utc - root.not_valid_before_utc > timedelta(days=3650)


def test_client_leaf(fleet_authority):
    """A client's certificate is good for calling only, from five minutes before now for its life."""
    key = fleet_authority.key.public_key()

    leaf = fleet_authority.issue_client("edge-7", key, 1.8e9, 86_400.0)

    usage = extension(leaf, x509.ExtendedKeyUsage)
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "edge-7"
    assert leaf.not_valid_before_utc.timestamp() == 1.8e9 - 300
    assert leaf.not_valid_after_utc.timestamp() == 1.8e9 + 86_400


def test_coordinator_leaf(fleet_authority):
    """The coordinator's certificate is good for answering only, and names no host."""
    leaf = fleet_authority.issue_coordinator(fleet_authority.key.public_key(), 1.8e9, 60.0)

    names = extension(leaf, x509.SubjectAlternativeName)
    assert list(extension(leaf, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert names.get_values_for_type(x509.DNSName) == ["coordinator.ward"]


def test_serials_differ(fleet_authority):
    """Each certificate has a random serial number."""
    key = fleet_authority.key.public_key()

    serials = {fleet_authority.issue_client("a", key, 0, 1).serial_number for _ in range(20)}

    assert len(serials) == 20


def test_no_overwriting(tmp_path):
    """A folder that holds a root is left as it is."""
    first = create_authority(tmp_path, "ward", None, 1.8e9)

    with pytest.raises(IdentityError, match="already"):
        create_authority(tmp_path, "other", None, 1.8e9)

    assert open_authority(tmp_path, None).pin == first.pin


def test_files_are_private(tmp_path):
    """Only the owner can read the folder and the key."""
    create_authority(tmp_path / "fleet", "ward", None, 1.8e9)

    assert (tmp_path / "fleet").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "fleet" / "root.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", [None, "wrong"])
def test_encrypted_key(tmp_path, given):
    """With a passphrase, the key cannot be read without it or with another."""
    create_authority(tmp_path, "ward", "right", 1.8e9)

    with pytest.raises(IdentityError, match="passphrase"):
        open_authority(tmp_path, given)

    assert open_authority(tmp_path, "right").fleet == "ward"


def test_no_fleet(tmp_path):
    """Without a root the message says how to make one."""
    with pytest.raises(IdentityError, match="antiphon ca init"):
        open_authority(tmp_path, None)


@pytest.mark.parametrize("lost", ["root.key", "root.pem"])
def test_a_lost_root_is_said(tmp_path, lost):
    """It is not taken for a fleet that was never made, and the message says what to do."""
    create_authority(tmp_path, "ward", None, 1.8e9)
    (tmp_path / lost).unlink()

    with pytest.raises(
        IdentityError, match=rf"root is lost: .*{lost} is missing, but .*roots\.pem"
    ):
        open_authority(tmp_path, None)


@pytest.mark.parametrize("left", ["root.key", "root.pem", "roots.pem", "fleet.sqlite"])
def test_no_new_root_beside_anything_of_an_old_one(tmp_path, left):
    """Clients rely on the old one: it is restored, or its folder moved away."""
    (tmp_path / left).touch()

    with pytest.raises(IdentityError, match=f"files already.*{left}"):
        create_authority(tmp_path, "ward", None, 1.8e9)

    assert [each.name for each in tmp_path.iterdir()] == [left]


def test_a_damaged_root_is_said(tmp_path):
    """Where else it can be found, too."""
    create_authority(tmp_path, "ward", None, 1.8e9)
    (tmp_path / "root.pem").write_bytes(b"torn")

    with pytest.raises(IdentityError, match=r"cannot read .*root\.pem.*or from roots\.pem"):
        open_authority(tmp_path, None)


def test_a_lost_bundle_is_said(tmp_path):
    """It is what clients are told to trust."""
    authority = create_authority(tmp_path, "ward", None, 1.8e9)
    (tmp_path / "roots.pem").unlink()

    with pytest.raises(
        IdentityError, match=r"roots\.pem.*Restore it from a copy, or from root\.pem"
    ):
        _ = authority.roots


def test_key_of_another_root(tmp_path):
    """Files of two fleets that were mixed up are noticed."""
    create_authority(tmp_path / "a", "a", None, 1.8e9)
    create_authority(tmp_path / "b", "b", None, 1.8e9)
    (tmp_path / "a" / "root.key").write_bytes((tmp_path / "b" / "root.key").read_bytes())

    with pytest.raises(IdentityError, match="not the key of"):
        open_authority(tmp_path / "a", None)
