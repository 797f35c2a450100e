"""A client's update under its masks: the last thing that is done to it before it is packed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from antiphon.client.exchanges.exchange import Kept
from antiphon.client.secure.party import (
    MASK_KEY,
    OPENED,
    PEERS,
    SEAL_KEY,
    SEED,
    session_kept,
)
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import AnyArray, Assignment, Package, State, Update
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.forms.form import Arrived
from antiphon.strategies.methods.method import Method, method_of
from antiphon.strategies.secure.exchanges import SEALED_BYTES
from antiphon.strategies.secure.masks import add_mask, agree
from antiphon.strategies.secure.names import MASKED
from antiphon.strategies.secure.packed import pack
from antiphon.strategies.secure.sealed import open_sealed
from antiphon.strategies.secure.session import (
    KEY_BYTES,
    Masked,
    SumSession,
    asked_of_all,
    checked_octets,
    octets,
    sign_of,
)
from antiphon.strategies.secure.shamir import SHARE_BYTES
from antiphon.strategies.secure.terms import MaskedWords, SumTerms, among_of

_ASSIGNMENT, _VECTOR = "assignment", "vector"
_OF_GRIDS = 1 << 33  # rounds' own numbers, and codecs' beyond 2³², are for what else a client draws


@dataclass(frozen=True)
class MaskingPlace:
    """Where an update is masked. run: its name on the wire; model: hex SHA-256 of the model that the update
    starts from; kept: what the client's exchanges have left.
    """

    run: str
    model: str
    kept: Kept


@dataclass(frozen=True)
class Masking:
    """What a run's clients do to their updates. terms: of the sum."""

    method: Method
    terms: SumTerms

    def masked(
        self, update: Update, assignment: Assignment, start: Package, place: MaskingPlace
    ) -> Update:
        """Return the update as it leaves: its delta on the grid, under the masks of this round.

        start: the model. What has been masked for this assignment before is returned again. Raises
        UpdateError for another assignment of the same round: a mask is used once.
        """
        kept, model = place.kept, place.model
        before, said = kept.of(assignment.round), _digest(assignment, model)
        if _VECTOR in before:
            if bytes(before[_ASSIGNMENT]) != said:
                raise UpdateError(
                    "another assignment of a round for which an update has left: a mask is used once"
                )
            return replace(update, payload=Package(MASKED, {MASKED: before[_VECTOR]}))
        if assignment.frames is not None:
            raise UpdateError("factors that stand still follow from the seed in a sum under masks")
        if PEERS not in before:
            raise UpdateError("a masked update is asked for, but this client has given no shares")
        agreed = session_kept(before, place.run, assignment.round, self.terms)
        vector, masked = self._vector(update, assignment, start, model)
        there, opened = _opened(before, agreed, assignment)
        _mask(vector, before, agreed, assignment.client, masked, there)
        packed = pack(vector, masked.bits)
        left = {_VECTOR: packed, _ASSIGNMENT: octets(said), OPENED: opened}
        kept.keep(assignment.round, dict(before) | left)
        return replace(update, payload=Package(MASKED, {MASKED: packed}))

    def _vector(
        self, update: Update, assignment: Assignment, start: Package, model: str
    ) -> tuple[MaskedWords, Masked]:
        whom = among_of(assignment.told)
        if not self.terms.weighed and whom.cap != 1:
            raise UpdateError(
                "each client counts once in this run, and the coordinator says otherwise"
            )
        asked = asked_of_all(assignment, whom.members, whom.cap)
        rng = np.random.Generator(
            np.random.Philox(key=[assignment.seed, assignment.round + _OF_GRIDS])
        )
        delta = _delta(self.method, update, assignment, start)
        vector = self.terms.vector(delta, update.examples, whom, rng)
        bits = self.terms.grid(whom.members).modulus_bits
        return vector, Masked(model, asked, len(vector), bits)


def masking_of(config: RunConfig) -> Masking | None:
    """Return what a run's clients do to their updates; none: nothing."""
    method = method_of(config)
    return Masking(method, method.secure.terms) if method.secure else None


def _delta(method: Method, update: Update, assignment: Assignment, start: Package) -> Tensors:
    """Return a client's delta in the run's space, whatever the form in which it is said."""
    form, rate = method.role(assignment.method).form, assignment.learning_rate
    whole = form.completed(update, assignment)
    return form.delta(Arrived(whole, start.arrays, rate, rate, method.space.walked))


def _opened(kept: State, agreed: SumSession, assignment: Assignment) -> tuple[list[str], AnyArray]:
    """Return the neighbours who have given shares, and what they have sealed for this client, (m, 2, 33).

    Raises UpdateError where one cannot be opened: it was sealed for other members than were shown here.
    """
    client, peers = assignment.client, agreed.others(assignment.client)
    indices = [int(each) for each in assignment.told.get("from", ())]
    if indices != sorted(set(indices)) or any(not 0 <= each < len(peers) for each in indices):
        raise UpdateError("shares of neighbours that are none, or of one twice")
    if len(indices) < agreed.needed:
        raise UpdateError(
            f"{len(indices)} of {len(peers)} neighbours have given shares, expected at least "
            f"{agreed.needed}: with fewer nobody could take the masks away"
        )
    sealed = checked_octets(assignment.told, "sealed", len(indices), SEALED_BYTES)
    there = [peers[index] for index in indices]
    rows = [
        open_sealed(
            _sealing_key(kept, agreed, client, peers, peer),
            content.tobytes(),
            agreed.of_shares(peer, client),
        )
        for peer, content in zip(there, sealed, strict=True)
    ]
    if any(len(each) != 2 * SHARE_BYTES for each in rows):
        raise UpdateError("a sealed share of another size than one has")
    return there, np.stack([octets(each).reshape(2, SHARE_BYTES) for each in rows])


def _sealing_key(
    kept: State, agreed: SumSession, client: str, peers: Sequence[str], peer: str
) -> bytes:
    shown = kept[PEERS][peers.index(peer)][KEY_BYTES:].tobytes()
    return agree(kept[SEAL_KEY].tobytes(), shown, agreed.of_sealing(client, peer))


def _mask(
    vector: MaskedWords,
    kept: State,
    agreed: SumSession,
    client: str,
    masked: Masked,
    there: Sequence[str],
) -> None:
    """Add a client's own mask, and those that it has with neighbours, in place."""
    own = agreed.own(kept[SEED].tobytes(), client, masked)
    add_mask(vector, own, masked.bits, sign=1)
    peers = agreed.others(client)
    for peer in there:
        shown = kept[PEERS][peers.index(peer)][:KEY_BYTES].tobytes()
        seed = agree(kept[MASK_KEY].tobytes(), shown, agreed.of_pair(client, peer, masked))
        add_mask(vector, seed, masked.bits, sign=sign_of(client, peer))


def _digest(assignment: Assignment, model: str) -> bytes:
    """Return a hash over all that a client was asked for."""
    told = {name: each.tobytes() for name, each in sorted(assignment.told.items())}
    said = repr((replace(assignment, told={}), sorted(told.items()), model))
    return hashlib.sha256(said.encode()).digest()
