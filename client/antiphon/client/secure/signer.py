"""How a trainer signs the keys of a round in its site's name, without the site's own key.

The daemon makes a key for one exchange, says with the site's certificate that it speaks for the site in one
round of one run, and gives it to the trainer. Whoever breaks into a trainer has no more than that.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.core.errors import UpdateError
from antiphon.core.types import State
from antiphon.strategies.secure.peers import SignedKeys, check_peer, signed
from antiphon.strategies.secure.session import octets


@dataclass(frozen=True)
class Signer:
    """A site's voice in one round. key: Ed25519, 32 bytes; certificate: DER; delegation: the certificate's
    signature over the key; roots: of the fleet; now() → the time by which certificates are looked at.
    """

    key: bytes = field(repr=False)
    certificate: bytes
    delegation: bytes
    roots: Sequence[x509.Certificate]
    now: Callable[[], datetime]

    def proof(self, run: str, number: int, client: str, mask: bytes, seal: bytes) -> State:
        """Return what shows that keys are this client's, as it goes with them."""
        made = signed(
            run=run,
            number=number,
            client=client,
            mask=mask,
            seal=seal,
            key=self.key,
            certificate=self.certificate,
            delegation=self.delegation,
        )
        return {
            "delegate": octets(made.delegate),
            "delegation": octets(made.delegation),
            "signature": octets(made.signature),
            "certificate": octets(made.certificate),
        }

    def check(self, keys: SignedKeys, run: str, number: int, client: str) -> None:
        """Raise UpdateError where keys are not those of a client of this fleet, for this very round."""
        check_peer(keys, run=run, number=number, client=client, roots=self.roots, now=self.now())


def signer_of(said: Mapping[str, str]) -> Signer:
    """Return what a daemon has given its trainer; see trainer_protocol.py. Raises UpdateError."""
    try:
        leaf = x509.load_pem_x509_certificate(said["certificate"].encode())
        return Signer(
            key=base64.b64decode(said["key"], validate=True),
            certificate=leaf.public_bytes(Encoding.DER),
            delegation=base64.b64decode(said["delegation"], validate=True),
            roots=x509.load_pem_x509_certificates(said["roots"].encode()),
            now=lambda: datetime.now(UTC),
        )
    except (KeyError, ValueError) as error:
        raise UpdateError(f"a signer that cannot be read: {error}") from None
