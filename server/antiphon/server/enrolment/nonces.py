"""Numbers that are used once: what a client signs to renew a certificate that has run out.

A nonce carries its own end and a keyed hash of it, so that asking for one leaves nothing behind here: only
those that were used are remembered, until they run out.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable

LIFE_S = 60.0
"""How long a nonce can be used, seconds."""

_HALF = 16  # bytes: what is signed, and how much of the hash is kept


class Nonces:
    """Gives nonces and takes each back once; may be used from several threads.

    now: seconds of a clock that does not go back; random: gives as many unpredictable bytes as asked.
    """

    def __init__(self, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        """Draw a secret: a nonce is good for the object that gave it only."""
        self._now, self._random = now, random
        self._secret = random(32)
        self._used: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def give(self) -> bytes:
        """Return a new nonce, 32 bytes."""
        end_ms = int((self._now() + LIFE_S) * 1000)
        body = end_ms.to_bytes(8, "big") + self._random(8)
        return body + self._proof(body)

    def spend(self, nonce: bytes) -> bool:
        """Tell whether a nonce is one of ours, in time and not yet used; from now on it is used."""
        body, proof = nonce[:_HALF], nonce[_HALF:]
        if not hmac.compare_digest(proof, self._proof(body)):
            return False
        end = int.from_bytes(body[:8], "big") / 1000
        with self._lock:
            now = self._now()
            self._used = {used: until for used, until in self._used.items() if until >= now}
            if end < now or body in self._used:
                return False
            self._used[body] = end
        return True

    def _proof(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, hashlib.sha256)[:_HALF]
