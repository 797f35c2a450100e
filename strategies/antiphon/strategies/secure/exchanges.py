"""The coordinator's half of secure sums (Bonawitz et al., CCS 2017): keys, shares, unmasking.

    secure_keys        each member shows two public keys of this round
    secure_shares      and gives each neighbour a share of its two secrets, sealed for it
    training           the update goes up under masks; with its assignment, what neighbours have sealed
    secure_unmasking   for each neighbour one share: of its own seed where its update has arrived, else of
                       the key by which its masks with others can be made again

The coordinator hands on what it cannot open, and learns of each member one secret and never both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.events import TRAINING
from antiphon.core.space import SpaceShapes
from antiphon.core.types import AnyArray, State
from antiphon.strategies.exchanges.exchange import Exchange, SoFar, training
from antiphon.strategies.secure.masks import add_mask, agree, public_of
from antiphon.strategies.secure.names import (
    KEYS,
    MASK,
    REFUSED,
    SHARES,
    TRAINED,
    UNMASKING,
)
from antiphon.strategies.secure.session import (
    KEY_BYTES,
    KEYS_BYTES,
    Masked,
    SumSession,
    asked_of_all,
    checked_octets,
    names_as_octets,
    octets,
    promise,
    session_of,
    sign_of,
)
from antiphon.strategies.secure.shamir import SHARE_BYTES, combine
from antiphon.strategies.secure.terms import BEHIND, Among, MaskedWords, SumTerms, among
from antiphon.strategies.spaces.space import Space

SEALED_BYTES = 12 + 2 * SHARE_BYTES + 16
PROOF = {"delegate": 32, "delegation": 80, "signature": 64, "certificate": 4096}
"""What shows that keys are a client's, and the most bytes of each; see secure/peers.py."""

_ANY_KEY = b"k" * KEY_BYTES
_NOTHING = octets(b"")
_MOST_KEYS = 8192
_MOST_CHOICES = 256  # of shares, until a member's secret is given up


@dataclass(frozen=True)
class SecureSums:
    """The coordinator's side of a run's secure sums. space: of the run, whose numbers are summed."""

    terms: SumTerms
    space: Space

    def around(self, listed: Sequence[Exchange]) -> tuple[Exchange, ...]:
        """Return a round's exchanges with those of a secure sum. Raises ConfigError for a method's own."""
        if [each.name for each in listed] != [TRAINING]:
            raise ConfigError(
                "privacy.secure_aggregation needs a round whose only exchange is training: leave it out, "
                "or use another method"
            )
        return (
            Exchange(KEYS, _check_keys, _all_keys, most_bytes=_MOST_KEYS),
            Exchange(SHARES, self._check_shares, _all_shares, self._ask_shares),
            training(self._tell),
            Exchange(UNMASKING, self._check_unmasking, self._unmask, self._ask_unmasking),
        )

    def words(self, shapes: SpaceShapes) -> int:
        """Return how many words a client's vector has."""
        numbers = self.space.num_seeds or self.space.trained(shapes)
        return numbers + BEHIND

    def masked(self, so_far: SoFar) -> Masked:
        """Return what the members of a round put masks on."""
        whom = self._among(so_far)
        asked = asked_of_all(so_far.assigned(so_far.cohort[0]), whom.members, whom.cap)
        bits = self.terms.grid(whom.members).modulus_bits
        return Masked(so_far.model(), asked, self.words(so_far.shapes), bits)

    def _among(self, so_far: SoFar) -> Among:
        return among(len(so_far.cohort), so_far.examples, weighed=self.terms.weighed)

    def _session(self, so_far: SoFar) -> SumSession:
        keys = {each: _keys_of(so_far, each) for each in _who(so_far.known[KEYS])}
        return session_of(so_far.run, so_far.round, keys, self.terms.threshold)

    def _ask_shares(self, so_far: SoFar, client: str) -> State:
        session = self._session(so_far)
        peers = session.others(client)
        known = so_far.known[KEYS]
        asked = {
            "names": names_as_octets(session.members),
            "leaves": octets(b"".join(session.leaves)),
            "keys": np.stack([_keys_of(so_far, each) for each in peers]),
        }
        parts = [known.get(f"{peer}/{part}", _NOTHING) for peer in peers for part in PROOF]
        if not any(each.size for each in parts):
            return asked
        lengths = np.array([each.size for each in parts], np.uint32).reshape(-1, len(PROOF))
        return asked | {"proofs": np.concatenate(parts), "lengths": lengths}

    def _check_shares(self, so_far: SoFar, client: str, answer: State) -> None:
        _only(answer, "sealed")
        peers = self._session(so_far).others(client)
        checked_octets(answer, "sealed", len(peers), SEALED_BYTES)

    def _tell(self, so_far: SoFar, client: str) -> State:
        session = self._session(so_far)
        answered, peers = so_far.known[SHARES], session.others(client)
        there = [index for index, each in enumerate(peers) if each in answered]
        sealed = [
            answered[peers[index]][session.others(peers[index]).index(client)] for index in there
        ]
        return {
            **self._among(so_far).said,
            "from": np.array(there, np.uint32),
            "sealed": np.stack(sealed) if sealed else np.zeros((0, SEALED_BYTES), np.uint8),
        }

    def _ask_unmasking(self, so_far: SoFar, client: str) -> State:
        session, trained = self._session(so_far), frozenset(so_far.trained)
        peers = _linked(session, so_far, client)
        return {"arrived": np.array([each in trained for each in peers], np.uint8)}

    def _check_unmasking(self, so_far: SoFar, client: str, answer: State) -> None:
        _only(answer, "shares")
        peers = _linked(self._session(so_far), so_far, client)
        checked_octets(answer, "shares", len(peers), SHARE_BYTES)

    def _unmask(self, so_far: SoFar, answers: Mapping[str, State]) -> State:
        try:
            total = self._mask(so_far, answers)
        except UpdateError as error:  # of a member that lies: the round is dropped, the run goes on
            return {REFUSED: octets(str(error).encode())}
        found = {MASK: total, TRAINED: names_as_octets(so_far.trained)}
        return {**found, **self._among(so_far).said}

    def _mask(self, so_far: SoFar, answers: Mapping[str, State]) -> MaskedWords:
        """Return what stands between the sum of the masked vectors and the sum of the vectors."""
        session, trained = self._session(so_far), so_far.trained
        masked = self.masked(so_far)
        total = zeros(masked)
        for client in _who_shared(session, so_far):
            shares = _shares(session, so_far, client, answers)
            secret = _secret(session, so_far, client, shares)
            if client in trained:
                add_mask(total, session.own(secret, client, masked), masked.bits, sign=1)
                continue
            for peer in _linked(session, so_far, client):
                if peer in trained:
                    shown = _keys_of(so_far, peer)[:KEY_BYTES].tobytes()
                    seed = agree(secret, shown, session.of_pair(client, peer, masked))
                    add_mask(total, seed, masked.bits, sign=sign_of(peer, client))
        return total


def proofs_of(asked: State, count: int) -> list[dict[str, bytes]]:
    """Return what shows whose the keys of so many neighbours are, each by its parts; see PROOF.

    Raises UpdateError where it is not told of all of them.
    """
    said, lengths = asked.get("proofs", _NOTHING), asked.get("lengths")
    if lengths is None or lengths.shape != (count, len(PROOF)) or lengths.dtype != np.uint32:
        raise UpdateError("the keys of the cohort's members are not signed")
    ends = np.cumsum(lengths.astype(np.int64))
    if said.dtype != np.uint8 or said.shape != (int(ends[-1]) if count else 0,):
        raise UpdateError("signatures of keys of another length than they are said to have")
    parts = iter(np.split(said, ends[:-1]))
    return [{part: next(parts).tobytes() for part in PROOF} for _ in range(count)]


def zeros(masked: Masked) -> MaskedWords:
    """Return a vector of zeros, of words as wide as its masks need."""
    return np.zeros(masked.words, np.uint32 if masked.bits <= 32 else np.uint64)


def _check_keys(so_far: SoFar, client: str, answer: State) -> None:
    _only(answer, "keys", "promise", *PROOF)
    checked_octets(answer, "keys", KEYS_BYTES)
    checked_octets(answer, "promise", KEY_BYTES)
    content = answer["keys"].tobytes()
    for key in (content[:KEY_BYTES], content[KEY_BYTES:]):
        agree(_ANY_KEY, key, b"")  # with which nobody agrees on anything, all others would fail
    for part, most in PROOF.items():
        if part in answer and not 0 < answer[part].size <= most:
            raise UpdateError(f"{part} of {answer[part].size} bytes, expected 1 to {most}")
        if part in answer:
            checked_octets(answer, part, answer[part].size)


def _only(answer: State, *names: str) -> None:
    if strange := sorted(set(answer) - set(names)):
        raise UpdateError(f"an answer with {strange[0][:64]!r}, expected {', '.join(names)}")


def _all_keys(so_far: SoFar, answers: Mapping[str, State]) -> State:
    return {
        f"{client}/{part}": each
        for client, answer in sorted(answers.items())
        for part, each in answer.items()
    }


def _all_shares(so_far: SoFar, answers: Mapping[str, State]) -> State:
    return {client: answer["sealed"] for client, answer in sorted(answers.items())}


def _who(known: State) -> list[str]:
    return sorted({name.rpartition("/")[0] for name in known})


def _keys_of(so_far: SoFar, client: str) -> AnyArray:
    return so_far.known[KEYS][f"{client}/keys"]


def _who_shared(session: SumSession, so_far: SoFar) -> list[str]:
    return [each for each in session.members if each in so_far.known[SHARES]]


def _linked(session: SumSession, so_far: SoFar, client: str) -> list[str]:
    """Return the neighbours with whom a member has masked: those who have given shares."""
    return [each for each in session.others(client) if each in so_far.known[SHARES]]


def _shares(
    session: SumSession, so_far: SoFar, client: str, answers: Mapping[str, State]
) -> dict[int, bytes]:
    """Return what its neighbours have told of a member, by their points."""
    shares = dict[int, bytes]()
    for point, peer in enumerate(session.others(client), start=1):
        if peer in answers:
            row = _linked(session, so_far, peer).index(client)
            shares[point] = answers[peer]["shares"][row].tobytes()
    return shares


def _secret(session: SumSession, so_far: SoFar, client: str, shares: Mapping[int, bytes]) -> bytes:
    """Return the one secret of a member that shares of it give, though some of them are false.

    Raises UpdateError where no choice of them gives what the member has shown before.
    """
    needed = session.needed
    shown = _keys_of(so_far, client)[:KEY_BYTES].tobytes()
    promised = so_far.known[KEYS][f"{client}/promise"].tobytes()
    for chosen in islice(_choices(sorted(shares), needed, session.name), _MOST_CHOICES):
        secret = _combined({each: shares[each] for each in chosen}, needed)
        if client in so_far.trained and promise(client, secret) == promised:
            return secret
        if client not in so_far.trained and public_of(secret) == shown:
            return secret
    raise UpdateError(
        f"{len(shares)} shares of {client}'s secret give none that it has shown, {needed} true ones do"
    )


def _choices(points: Sequence[int], needed: int, name: bytes) -> Iterator[Sequence[int]]:
    """Yield the first of the points, then chosen ones: with one false among ten, few are needed."""
    yield points[:needed]
    rng = np.random.Generator(np.random.Philox(key=np.frombuffer(name, np.uint64)[:2]))
    while needed < len(points):
        yield sorted(rng.permutation(points)[:needed].tolist())


def _combined(shares: Mapping[int, bytes], needed: int) -> bytes:
    try:
        return combine(shares, needed)
    except UpdateError:  # they lie on no curve of a secret
        return bytes(KEY_BYTES)
