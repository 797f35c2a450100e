"""The coordinator's own certificate, which renews itself while the coordinator runs.

Its key is made when the coordinator starts and never written: what clients rely on is the root. gRPC asks
for the certificate at every new connection; connections that are open keep theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from antiphon.server.enrolment.authority import Authority, bundle_file, read_roots

LIFE_S = 30 * 86400.0
"""Life of a coordinator's certificate, seconds."""

_RENEW_AT = 2 / 3  # of its life
_LOOK_EVERY_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True)
class ServerKeys:
    """What gRPC is given: PEM each. chain: leaf, then root; roots: whose clients are let in."""

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


class ServerCertificate:
    """Gives the coordinator's certificate, fresh at any time; may be asked from several threads."""

    def __init__(
        self, authority: Authority, folder: Path, now: Callable[[], float], life_s: float = LIFE_S
    ) -> None:
        """Sign the first one. now: seconds since the Unix epoch; folder: where the roots' bundle lies."""
        self._authority, self._folder, self._now, self._life_s = authority, folder, now, life_s
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._looked_at = now()
        self._begins = self._renew_at = 0.0
        self._keys = self._issued(_pem(authority.roots), now())

    def at(self, now: float) -> ServerKeys:
        """Return the certificate for a connection that begins `now`: the same object while nothing changes.

        Past two thirds of its life it is signed anew, and where it is not valid yet: the clock was ahead
        when it was signed. A changed bundle of roots is read at most once a second. Raises IdentityError
        where the bundle is damaged, OSError where it is gone.
        """
        with self._lock:
            roots = self._roots_at(now)
            if not self._begins <= now < self._renew_at:
                self._keys = self._issued(roots, now)
            elif roots != self._keys.roots:
                self._keys = ServerKeys(self._keys.key, self._keys.chain, roots)
            return self._keys

    def credentials(self, *, clients: bool) -> grpc.ServerCredentials:
        """Return a server's credentials; clients: every caller must show a client's certificate."""
        given = [self.at(self._now())]

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            try:
                keys = self.at(self._now())
            except (
                Exception
            ) as error:  # gRPC would go on with the old ones; the reason must be seen
                log.error("certificate not renewed", reason=str(error)[:200])
                return None
            if keys is given[0]:
                return None  # keep what you have
            given[0] = keys
            return _configuration(keys, clients)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given[0], clients),
            fetch,  # type: ignore[arg-type]  # its stub forgets None, which means: keep the old
            require_client_authentication=clients,
        )

    def _issued(self, roots: bytes, now: float) -> ServerKeys:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._authority.issue_coordinator(key.public_key(), now, self._life_s)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._begins = leaf.not_valid_before_utc.timestamp()
        self._renew_at = now + _RENEW_AT * self._life_s
        return ServerKeys(private, _pem((leaf, self._authority.root)), roots)

    def _roots_at(self, now: float) -> bytes:
        if 0 <= now - self._looked_at < _LOOK_EVERY_S:
            return self._keys.roots
        self._looked_at = now
        stamp = self._look()
        if stamp == self._stamp:
            return self._keys.roots
        roots = _pem(read_roots(self._folder))
        self._stamp = stamp
        return roots

    def _look(self) -> tuple[int, int]:
        found = bundle_file(self._folder).stat()
        return found.st_mtime_ns, found.st_ino


def _configuration(keys: ServerKeys, clients: bool) -> grpc.ServerCertificateConfiguration:
    pairs = [(keys.key, keys.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, keys.roots if clients else None)


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
