"""The fleet's certificate authority: a root of its own, and the leaves that it signs (RFC 5280).

The root lives in three files of the fleet's folder: `root.key` (the only secret), `root.pem`, and
`roots.pem`, the bundle that is trusted. More than one root is in the bundle while a new one is brought in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from antiphon.core.channel import coordinator_name
from antiphon.core.errors import UserError
from antiphon.core.home import write_private
from antiphon.core.identity import (
    IdentityError,
    PublicKey,
    checked_name,
    client_uri,
    coordinator_uri,
    fleet_of,
    fleet_uri,
    pin_of,
)
from antiphon.core.secret_file import read_secret

PASSPHRASE = "ANTIPHON_CA_PASSPHRASE"
"""Environment variable: where it is set, the root's key is encrypted with it."""

PASSPHRASE_FILE = f"{PASSPHRASE}_FILE"
"""Environment variable: the file that holds the passphrase, in place of the variable above."""

_ROOT_LIFE = timedelta(days=3650)
_CLOCK_SKEW = timedelta(minutes=5)
_LEAF_USAGE = {"digital_signature": True}
_ROOT_USAGE = {"key_cert_sign": True, "crl_sign": True}
_OF_A_FLEET = ("root.key", "root.pem", "roots.pem", "fleet.sqlite", "coordinator.lock")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Authority:
    """A root that can sign. key: never shown; folder: where it lies, beside the roots' bundle."""

    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    folder: Path

    @property
    def fleet(self) -> str:
        """The fleet's name."""
        return fleet_of(self.root)

    @property
    def pin(self) -> str:
        """What a machine that joins compares the root with."""
        return pin_of(self.root)

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """What the fleet trusts now, read anew each time. Raises IdentityError."""
        return read_roots(self.folder)

    def issue_client(
        self, name: str, key: PublicKey, now: float, life_s: float
    ) -> x509.Certificate:
        """Sign a client's certificate: from five minutes before `now` until `life_s` after it, seconds."""
        uri = x509.UniformResourceIdentifier(client_uri(self.fleet, name))
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(name, key, [uri], usage, _moment(now), timedelta(seconds=life_s))

    def issue_coordinator(self, key: PublicKey, now: float, life_s: float) -> x509.Certificate:
        """Sign the coordinator's certificate; it holds wherever the coordinator runs."""
        name = coordinator_name(self.fleet)
        names = [
            x509.DNSName(name),
            x509.UniformResourceIdentifier(coordinator_uri(self.fleet)),
        ]
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return self._issue(
            "coordinator", key, names, usage, _moment(now), timedelta(seconds=life_s)
        )

    def _issue(
        self,
        common_name: str,
        key: PublicKey,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
        life: timedelta,
    ) -> x509.Certificate:
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            _builder(common_name, key, now - _CLOCK_SKEW, now + life)
            .issuer_name(self.root.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(_LEAF_USAGE), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(signer, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def create_authority(folder: Path, fleet: str, passphrase: str | None, now: float) -> Authority:
    """Make a fleet's root and write it to `folder`.

    passphrase: encrypts the key's file; none: the file's mode (0600) is all that protects it. Raises
    IdentityError for a name that cannot be used, or where the folder holds anything of a fleet's already.
    """
    checked_name(fleet, "the fleet")
    if there := traces(folder):
        raise IdentityError(
            f"{folder} holds a fleet's files already ({', '.join(there)}), and clients may rely on them: "
            "choose another --home, restore what is missing from a copy, or move that folder away (every "
            "client must join anew then)"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    root = _signed_root(fleet, key, _moment(now))
    pem = root.public_bytes(Encoding.PEM)
    write_private(_root_file(folder), pem)
    write_private(bundle_file(folder), pem)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption(passphrase))
    write_private(_key_file(folder), encrypted)
    return Authority(root, key, folder)


def open_authority(folder: Path, passphrase: str | None) -> Authority:
    """Read a fleet's root. Raises IdentityError where there is none or the passphrase is wrong."""
    file = _key_file(folder)
    if not file.is_file():
        raise IdentityError(_missing(file))
    try:
        key = load_pem_private_key(file.read_bytes(), _secret(passphrase))
    except (ValueError, TypeError):
        said = "is wrong or not needed" if passphrase else "is missing"
        raise IdentityError(f"cannot read {file}: the passphrase ({PASSPHRASE}) {said}") from None
    root = read_root(folder)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != root.public_key():
        raise IdentityError(
            f"{file} is not the key of root.pem beside it: restore both from one copy"
        )
    return Authority(root, key, folder)


def read_root(folder: Path) -> x509.Certificate:
    """Return the root that signs; needs no passphrase. Raises IdentityError where there is none."""
    try:
        return x509.load_pem_x509_certificate(_root_file(folder).read_bytes())
    except FileNotFoundError:
        raise IdentityError(_missing(_root_file(folder))) from None
    except (OSError, ValueError) as error:
        raise IdentityError(
            f"cannot read {_root_file(folder)}: {error}. Restore it from a copy, or from roots.pem beside "
            "it, which holds it too"
        ) from None


def read_roots(folder: Path) -> tuple[x509.Certificate, ...]:
    """Return the roots that a fleet trusts. Raises IdentityError where the bundle is damaged."""
    try:
        return tuple(x509.load_pem_x509_certificates(bundle_file(folder).read_bytes()))
    except (OSError, ValueError) as error:
        raise IdentityError(
            f"cannot read {bundle_file(folder)}: {error}. Restore it from a copy, or from root.pem beside "
            "it where the fleet has had one root only"
        ) from None


def bundle_file(folder: Path) -> Path:
    """Return the file with the roots that a fleet trusts."""
    return folder / "roots.pem"


def passphrase_of(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the passphrase of the root's key; none: the key is not encrypted.

    Raises UserError where the file that is to hold it does not, or where both variables are set.
    """
    given, file = environ.get(PASSPHRASE) or None, environ.get(PASSPHRASE_FILE)
    if not file:
        return given
    if given:
        raise UserError(f"{PASSPHRASE} and {PASSPHRASE_FILE} are both set: unset one of them")
    return read_secret(Path(file), f"the passphrase ({PASSPHRASE_FILE})")


def _key_file(folder: Path) -> Path:
    return folder / "root.key"


def _root_file(folder: Path) -> Path:
    return folder / "root.pem"


def traces(folder: Path) -> list[str]:
    """Return the names of the files that show that there is a fleet, or was one; none: there was none."""
    return [name for name in _OF_A_FLEET if (folder / name).exists()]


def _missing(file: Path) -> str:
    there = traces(file.parent)
    if not there:
        return f"no fleet in {file.parent}: make one with `antiphon ca init --fleet NAME`"
    where = " or from roots.pem, which holds it too" if file.suffix == ".pem" else ""
    return (
        f"the fleet's root is lost: {file} is missing, but {', '.join(there)} beside it show that there "
        f"was one. Restore it from a copy{where}. Without one, move {file.parent} away, begin a new fleet "
        "with `antiphon ca init`, and let every client join it with --force"
    )


def _secret(passphrase: str | None) -> bytes | None:
    return passphrase.encode() if passphrase else None


def _encryption(passphrase: str | None) -> KeySerializationEncryption:
    secret = _secret(passphrase)
    return BestAvailableEncryption(secret) if secret else NoEncryption()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _signed_root(fleet: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    named = x509.UniformResourceIdentifier(fleet_uri(fleet))
    builder = _builder(fleet, key.public_key(), now - _CLOCK_SKEW, now + _ROOT_LIFE)
    return (
        builder.issuer_name(_subject(fleet))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(_ROOT_USAGE), critical=True)
        .add_extension(x509.SubjectAlternativeName([named]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    common_name: str, key: PublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(allowed: Mapping[str, bool]) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in _USAGES})
