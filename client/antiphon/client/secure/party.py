"""The client's half of a secure sum: its keys, its shares, and one share of each neighbour, once.

What it keeps between the exchanges of a round (its two secrets, what neighbours have sealed for it) lies in
one file with the answers that it has given. A question that is asked again gets the same answer; another
one in the same round gets none: masks are used once, and of each neighbour one secret is told and never
both.
"""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from antiphon.client.exchanges.exchange import Answer, Asked, Half
from antiphon.client.secure.signer import Signer
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import AnyArray, State
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.secure.exchanges import proofs_of
from antiphon.strategies.secure.masks import agree, public_of
from antiphon.strategies.secure.peers import SignedKeys
from antiphon.strategies.secure.sealed import seal
from antiphon.strategies.secure.session import (
    KEY_BYTES,
    KEYS_BYTES,
    SumSession,
    checked_octets,
    leaf,
    names_of,
    octets,
    promise,
    session,
)
from antiphon.strategies.secure.shamir import split
from antiphon.strategies.secure.terms import SumTerms

MASK_KEY: Final = "mask_key"
SEAL_KEY: Final = "seal_key"
SEED: Final = "seed"
NAMES: Final = "names"
LEAVES: Final = "leaves"
PEERS: Final = "peers"
OPENED: Final = "opened"
_TOLD: Final = "told"
_SECRETS: Final = frozenset({MASK_KEY, SEAL_KEY, SEED})


def keys(*, config: RunConfig) -> Half:
    """Show two public keys of this round, signed where this client has a certificate."""

    def answer(asked: Asked) -> Answer:
        if asked.kept:
            raise UpdateError("keys of this round have been shown: they are shown once")
        own = {each: os.urandom(KEY_BYTES) for each in sorted(_SECRETS)}
        mask, seal_key = (public_of(own[each]) for each in (MASK_KEY, SEAL_KEY))
        said: dict[str, AnyArray] = {
            "keys": octets(mask + seal_key),
            "promise": octets(promise(asked.client, own[SEED])),
        }
        if asked.site.signer:
            said |= asked.site.signer.proof(
                asked.site.run, asked.round, asked.client, mask, seal_key
            )
        return Answer(said, kept={name: octets(each) for name, each in own.items()})

    return answer


def shares(*, config: RunConfig) -> Half:
    """Look at who else is there, and give each neighbour a sealed share of both secrets."""
    terms = _terms(config)

    def answer(asked: Asked) -> Answer:
        if set(asked.kept) != _SECRETS:
            raise UpdateError("shares are given once in a round, after keys")
        agreed, peers = _checked_session(asked, terms)
        shown = {NAMES: asked.arrays[NAMES], LEAVES: asked.arrays[LEAVES], PEERS: peers}
        return Answer({"sealed": _sealed(asked, agreed, peers)}, kept={**asked.kept, **shown})

    return answer


def unmasking(*, config: RunConfig) -> Half:
    """Give one share of each neighbour: of its seed where its update has arrived, else of its key."""
    terms = _terms(config)

    def answer(asked: Asked) -> Answer:
        kept = asked.kept
        if _TOLD in kept:
            raise UpdateError(
                "this round has been unmasked with other members: a share is told once"
            )
        if OPENED not in kept:
            raise UpdateError(
                "there is nothing to unmask: this client has masked nothing in this round"
            )
        opened = kept[OPENED]
        arrived = checked_octets(asked.arrays, "arrived", len(opened)).astype(bool)
        agreed = session_kept(kept, asked.site.run, asked.round, terms)
        if arrived.sum() < agreed.needed:
            raise UpdateError(
                f"a sum over {int(arrived.sum())} of the others, expected {agreed.needed} at least: with "
                "fewer it would tell too much of each"
            )
        told = np.where(arrived[:, None], opened[:, 1], opened[:, 0])
        return Answer({"shares": told}, kept={_TOLD: octets(b"\1")})

    return answer


def session_kept(kept: State, run: str, number: int, terms: SumTerms) -> SumSession:
    """Return the session that a client has given its shares to."""
    leaves = kept[LEAVES].tobytes()
    each = tuple(leaves[at : at + KEY_BYTES] for at in range(0, len(leaves), KEY_BYTES))
    return session(run, number, names_of(kept[NAMES]), each, terms.threshold)


def _terms(config: RunConfig) -> SumTerms:
    secure = method_of(config).secure
    if secure is None:
        raise ConfigError("the run's config has no privacy.secure_aggregation")
    return secure.terms


def _checked_session(asked: Asked, terms: SumTerms) -> tuple[SumSession, AnyArray]:
    """Return the session that a coordinator shows, and the keys of the neighbours in it, (k, 64).

    Raises UpdateError where it is not one that this client can be in: too few members, keys that are not
    those of the members, or that nobody has signed who is one.
    """
    names = names_of(asked.arrays.get(NAMES, octets(b"")))
    if len(names) < max(2, asked.site.min_members) or asked.client not in names:
        raise UpdateError(
            f"a cohort of {len(names)}, expected {asked.site.min_members} at least, with this client"
        )
    checked_octets(asked.arrays, LEAVES, len(names) * KEY_BYTES)
    agreed = session_kept(asked.arrays, asked.site.run, asked.round, terms)
    peers = agreed.others(asked.client)
    shown = checked_octets(asked.arrays, "keys", len(peers), KEYS_BYTES)
    own = b"".join(public_of(asked.kept[each].tobytes()) for each in (MASK_KEY, SEAL_KEY))
    for name, keys_of in ((asked.client, octets(own)), *zip(peers, shown, strict=True)):
        if agreed.leaves[names.index(name)] != leaf(name, keys_of):
            raise UpdateError(f"the keys of {name} are not those that the cohort was shown")
    if asked.site.signer:
        _check_signatures(asked, asked.site.signer, peers, shown)
    return agreed, shown


def _check_signatures(
    asked: Asked, signer: Signer, peers: tuple[str, ...], shown: AnyArray
) -> None:
    proofs = proofs_of(asked.arrays, len(peers))
    for peer, keys_of, proof in zip(peers, shown, proofs, strict=True):
        content = keys_of.tobytes()
        keys_signed = SignedKeys(mask=content[:KEY_BYTES], seal=content[KEY_BYTES:], **proof)
        signer.check(keys_signed, asked.site.run, asked.round, peer)


def _sealed(asked: Asked, agreed: SumSession, peers: AnyArray) -> AnyArray:
    names = agreed.others(asked.client)
    needed, points = agreed.needed, range(1, len(names) + 1)
    own_key, own_seal, seed = (asked.kept[each].tobytes() for each in (MASK_KEY, SEAL_KEY, SEED))
    of_key = split(own_key, needed, points, os.urandom)
    of_seed = split(seed, needed, points, os.urandom)
    rows = []
    for point, peer, keys_of in zip(points, names, peers, strict=True):
        shared = agree(
            own_seal, keys_of[KEY_BYTES:].tobytes(), agreed.of_sealing(asked.client, peer)
        )
        context = agreed.of_shares(asked.client, peer)
        rows.append(octets(seal(shared, of_key[point] + of_seed[point], context, os.urandom)))
    return np.stack(rows)
