"""What the members of one secure sum agree on before anything is sent: who they are, and what masks are of.

A session is the members of a round who have shown keys. Its name is a hash over all of them: masks and
sealed shares are made for it, so that clients to whom a coordinator has shown different members have
nothing in common, and nothing of them adds up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from antiphon.core.errors import UpdateError
from antiphon.core.types import AnyArray, Assignment
from antiphon.strategies.secure.neighbours import shares_needed

Octets = npt.NDArray[np.uint8]

KEY_BYTES = 32
KEYS_BYTES = 2 * KEY_BYTES
"""A client's two public keys, one for masks and one for sealing, X25519."""

_LABEL = b"antiphon secure sum v1"


@dataclass(frozen=True)
class SumSession:
    """One secure sum. run, round: of which; members: sorted; leaves: a hash of each member's name and keys,
    in their order, 32 bytes each.
    """

    run: str
    round: int
    members: tuple[str, ...]
    leaves: tuple[bytes, ...]
    threshold: float

    @cached_property
    def name(self) -> bytes:
        """The hash over everything that it is, 32 bytes."""
        said = _spelled(self.run.encode(), str(self.round).encode(), *self.leaves)
        return hashlib.sha256(_LABEL + said).digest()

    def others(self, client: str) -> tuple[str, ...]:
        """Return all members but one, sorted: with whom it masks."""
        return tuple(each for each in self.members if each != client)

    @property
    def needed(self) -> int:
        """Return how many shares give a member's secret."""
        return shares_needed(len(self.members), self.threshold)

    def of_shares(self, source: str, target: str) -> bytes:
        """Return what a sealed share is bound to."""
        return _LABEL + _spelled(b"shares", self.name, source.encode(), target.encode())

    def of_sealing(self, one: str, other: str) -> bytes:
        """Return what the key is of by which two members seal shares for each other."""
        return _LABEL + _spelled(b"sealing", self.name, *sorted((one.encode(), other.encode())))

    def of_pair(self, one: str, other: str, masked: Masked) -> bytes:
        """Return what the mask of two members is of."""
        pair = sorted((one.encode(), other.encode()))
        return _LABEL + _spelled(b"pair", self.name, masked.said, *pair)

    def own(self, seed: bytes, client: str, masked: Masked) -> bytes:
        """Return the key of a member's own mask, of its seed."""
        info = _LABEL + _spelled(b"own", self.name, masked.said, client.encode())
        return HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(seed)


@dataclass(frozen=True)
class Masked:
    """What is masked. model: hex SHA-256 of the model that the round starts from; asked: what all are asked
    to do, and what each counts for at most; words: of a vector; bits: of a word.

    Whoever was asked for something else has masks that cancel with nobody's: a coordinator cannot make all
    updates but one nothing.
    """

    model: str
    asked: str
    words: int
    bits: int

    @property
    def said(self) -> bytes:
        """All of it."""
        return f"{self.model}/{self.asked}/{self.words}/{self.bits}".encode()


def asked_of_all(assignment: Assignment, members: int, cap: int) -> str:
    """Return what a round's assignments have in common: all but whose they are. members, cap: see Among."""
    each = assignment
    numbers = (each.round, each.steps, each.first_step, each.total_steps, each.r, each.max_tokens)
    return f"{members}/{cap}/{each.method}/{numbers}/{each.learning_rate!r}/{each.pool}"


def leaf(client: str, keys: AnyArray) -> bytes:
    """Return the hash of a member's name and keys."""
    return hashlib.sha256(_LABEL + _spelled(b"leaf", client.encode(), keys.tobytes())).digest()


def promise(client: str, seed: bytes) -> bytes:
    """Return what a member shows of its seed, so that a false one made of its shares is noticed."""
    return hashlib.sha256(_LABEL + _spelled(b"promise", client.encode(), seed)).digest()


def session_of(run: str, number: int, keys: Mapping[str, AnyArray], threshold: float) -> SumSession:
    """Return the session of a round whose members have shown these keys."""
    members = tuple(sorted(keys))
    return session(
        run, number, members, tuple(leaf(each, keys[each]) for each in members), threshold
    )


# Asked for with each question and answer of a round.
@lru_cache(maxsize=4)
def session(
    run: str, number: int, members: tuple[str, ...], leaves: tuple[bytes, ...], threshold: float
) -> SumSession:
    """Return a session of these members; see SumSession."""
    return SumSession(run, number, members, leaves, threshold)


def sign_of(client: str, other: str) -> int:
    """Return whether a client adds (1) or subtracts (−1) the mask that it has with another."""
    return 1 if client < other else -1


def octets(content: bytes) -> Octets:
    """Return bytes as they stand in an answer."""
    return np.frombuffer(content, np.uint8)


def names_as_octets(names: Sequence[str]) -> Octets:
    """Return names as they stand in an answer."""
    return octets("\n".join(names).encode())


def names_of(said: AnyArray) -> tuple[str, ...]:
    """Return what `names_as_octets` has said. Raises UpdateError for names out of order."""
    try:
        names = tuple(said.tobytes().decode().split("\n")) if said.size else ()
    except UnicodeDecodeError:
        raise UpdateError("names of a cohort that are no text") from None
    if list(names) != sorted(set(names)):
        raise UpdateError("names of a cohort that are not sorted, or one is there twice")
    return names


def checked_octets(state: Mapping[str, AnyArray], name: str, *shape: int) -> Octets:
    """Return an array of bytes of this shape. Raises UpdateError for anything else."""
    array = state.get(name)
    if array is None or array.dtype != np.uint8 or array.shape != shape:
        got = "none" if array is None else f"{array.dtype} {array.shape}"
        raise UpdateError(f"{name}: got {got}, expected uint8 {shape}")
    return cast(Octets, array)


def _spelled(*parts: bytes) -> bytes:
    """Return parts so that no two lists of them look alike."""
    return b"".join(len(each).to_bytes(4, "big") + each for each in parts)
