"""What a client does not do in a secure sum, whatever the coordinator asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.client.secure.cohort import RUN, Cohort
from tests.client.secure.conftest import Gather
from tests.client.secure.signers import Signers

from antiphon.client.exchanges.exchange import AtSite
from antiphon.core.errors import UpdateError
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import State
from antiphon.strategies.fold import Context
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.secure.names import KEYS, MASKED, MEMBERS, SHARES, UNMASKING
from antiphon.strategies.secure.shamir import SHARE_BYTES
from antiphon.strategies.secure.summed import summed

ADA, BEA = "client-000", "client-001"


@pytest.fixture
def cohort(gather: Gather) -> Cohort:
    """Four clients that have given shares."""
    made = gather(4)
    made.exchange(KEYS, made.deltas)
    made.exchange(SHARES, made.deltas)
    return made


def question(cohort: Cohort, name: str, client: str = ADA) -> State:
    """Return what the coordinator asks in an exchange."""
    return cohort.exchanges[name].ask(cohort.so_far(), client)


def test_a_mask_is_used_for_one_assignment(cohort: Cohort) -> None:
    """Two updates under one mask would tell their difference."""
    asked = cohort.assignment(ADA)
    cohort.masked(ADA, asked)

    with pytest.raises(UpdateError, match="a mask is used once"):
        cohort.masked(ADA, replace(asked, steps=asked.steps + 1))


def test_an_update_that_is_asked_for_again_is_the_same(cohort: Cohort) -> None:
    """Though it was trained again, and came out differently."""
    asked = cohort.assignment(ADA)
    first = cohort.masked(ADA, asked)
    other = {name: each + 0.5 for name, each in cohort.deltas[ADA].items()}

    again = cohort.masked(ADA, asked, other)

    np.testing.assert_array_equal(again.payload.arrays[MASKED], first.payload.arrays[MASKED])


def test_a_round_is_unmasked_once(cohort: Cohort) -> None:
    """Whoever says of a neighbour first that it is there and then that it is not gets one share of it."""
    cohort.train(cohort.deltas)
    asked = question(cohort, UNMASKING)
    cohort.answer(UNMASKING, ADA, to_bytes(asked))
    others = {"arrived": np.array([1, 1, 0], np.uint8)}

    with pytest.raises(UpdateError, match="told once"):
        cohort.answer(UNMASKING, ADA, to_bytes(others))


def test_of_each_neighbour_one_share_is_told(cohort: Cohort) -> None:
    """That of its seed where its update has come, that of its key where not, and nothing else."""
    cohort.train(sorted(cohort.deltas)[:3])

    told = from_bytes(cohort.answer(UNMASKING, ADA, to_bytes(question(cohort, UNMASKING))))

    opened = cohort.kept(BEA)  # another client keeps its own
    assert set(told) == {"shares"}
    assert told["shares"].shape == (3, SHARE_BYTES)
    assert opened.of(1)["seed"].size == 32


def test_nothing_is_unmasked_before_something_is_masked(cohort: Cohort) -> None:
    """Shares of a round in which this client has sent nothing are of use to nobody honest."""
    with pytest.raises(UpdateError, match="nothing to unmask"):
        cohort.answer(UNMASKING, ADA, to_bytes({"arrived": np.ones(3, np.uint8)}))


def test_keys_are_shown_once(cohort: Cohort) -> None:
    """A second pair in one round could be given other shares."""
    with pytest.raises(UpdateError, match="shown once"):
        cohort.answer(KEYS, ADA, to_bytes({"again": np.zeros(1)}))


def test_shares_are_given_once(cohort: Cohort) -> None:
    """Of one secret for one list of members."""
    asked = dict(question(cohort, SHARES)) | {"more": np.zeros(1, np.uint8)}

    with pytest.raises(UpdateError, match="once in a round"):
        cohort.answer(SHARES, ADA, to_bytes(asked))


def test_a_key_of_the_coordinators_in_the_place_of_a_members_is_refused(gather: Gather) -> None:
    """Where it is shown to this client alone: the members' name would be another."""
    cohort = gather(4)
    cohort.exchange(KEYS, cohort.deltas)
    asked = {name: each.copy() for name, each in question(cohort, SHARES).items()}
    asked["keys"][0, 0] ^= 1

    with pytest.raises(UpdateError, match="not those that the cohort was shown"):
        cohort.answer(SHARES, ADA, to_bytes(asked))


def test_members_that_were_shown_differently_have_nothing_in_common(gather: Gather) -> None:
    """What one has sealed for a cohort of four cannot be opened in a cohort of three."""
    whole = gather(4)
    whole.exchange(KEYS, whole.deltas)
    smaller = {name: each for name, each in whole.known[KEYS].items() if "003" not in name}
    part = Cohort(whole.config, whole.folder, whole.deltas, whole.shapes, known={KEYS: smaller})
    ada = {ADA: from_bytes(part.answer(SHARES, ADA, to_bytes(question(part, SHARES))))}
    whole.exchange(SHARES, [each for each in whole.deltas if each != ADA])
    told = dict(whole.assignment(ADA).told)

    assert ada[ADA]["sealed"].shape[0] == 2
    with pytest.raises(UpdateError):
        whole.masked(ADA, replace(whole.assignment(ADA), told=told))


@pytest.mark.parametrize("fewest", [5, 9])
def test_a_cohort_below_the_sites_floor_is_refused(gather: Gather, fewest: int) -> None:
    """Before anything is shared."""
    cohort = gather(4, sites={ADA: AtSite(RUN, min_members=fewest)})
    cohort.exchange(KEYS, cohort.deltas)

    with pytest.raises(UpdateError, match=f"expected {fewest} at least"):
        cohort.answer(SHARES, ADA, to_bytes(question(cohort, SHARES)))


def test_a_sum_over_one_is_not_unmasked(cohort: Cohort) -> None:
    """Nobody tells the seed of the one and the keys of all others, though all have masked."""
    cohort.train(cohort.deltas)

    for client in (BEA, "client-002", "client-003"):
        with pytest.raises(UpdateError, match="too much of each"):
            cohort.answer(UNMASKING, client, to_bytes({"arrived": np.array([1, 0, 0], np.uint8)}))


@pytest.mark.parametrize(
    "changed",
    [{"steps": 1}, {"learning_rate": 0.0}, {"first_step": 2}, {"total_steps": 9}, {"pool": 1}],
)
def test_who_was_asked_for_something_else_is_in_no_sum(
    gather: Gather, changed: dict[str, object]
) -> None:
    """A coordinator that asks all but one for nothing would learn what that one did."""
    cohort = gather(4)
    cohort.exchange(KEYS, cohort.deltas)
    cohort.exchange(SHARES, cohort.deltas)
    for client in cohort.deltas:
        asked = cohort.assignment(client)
        other = asked if client == ADA else replace(asked, **changed)  # type: ignore[arg-type]
        cohort.updates[client] = cohort.masked(client, other)

    cohort.exchange(UNMASKING, cohort.deltas)

    with pytest.raises(UpdateError, match="masks have not"):
        summed_of(cohort)


def test_who_counts_for_more_is_in_no_sum(cohort: Cohort) -> None:
    """The same by weights: told that the others hold a billion examples, theirs would count for nothing."""
    for client in cohort.deltas:
        asked = cohort.assignment(client)
        told = dict(asked.told) | (
            {} if client == ADA else {MEMBERS: np.array([4, 1 << 30], np.uint32)}
        )
        cohort.updates[client] = cohort.masked(client, replace(asked, told=told))

    cohort.exchange(UNMASKING, cohort.deltas)

    with pytest.raises(UpdateError, match="masks have not"):
        summed_of(cohort)


def test_a_round_is_not_run_twice(gather: Gather) -> None:
    """Once without a client, and the difference is what that client did."""
    cohort = gather(4)
    cohort.through()
    cohort.round = 2
    cohort.exchange(KEYS, cohort.deltas)

    with pytest.raises(UpdateError, match="asked for again"):
        replace(cohort, round=1, known={}, updates={}).exchange(KEYS, cohort.deltas)


def test_a_key_with_which_nobody_agrees_is_its_senders_fault(gather: Gather) -> None:
    """Else all the others would fail in its place."""
    cohort = gather(3)

    with pytest.raises(UpdateError, match="public key"):
        cohort.check(
            KEYS, ADA, to_bytes({"keys": np.zeros(64, np.uint8), "promise": np.zeros(32, np.uint8)})
        )


def summed_of(cohort: Cohort) -> object:
    """Return what the fold makes of all updates."""
    secure = method_of(cohort.config).secure
    assert secure is not None
    start = {name: np.zeros_like(each) for name, each in cohort.deltas[ADA].items()}
    updates = list(cohort.updates.values())
    return summed(secure.terms, start, 1.0, updates, Context(cohort.round, known=cohort.known))


def test_too_few_shares_leave_nothing_masked(cohort: Cohort) -> None:
    """Whoever could not be unmasked sends nothing."""
    told = dict(cohort.assignment(ADA).told)
    told |= {"from": told["from"][:1], "sealed": told["sealed"][:1]}

    with pytest.raises(UpdateError, match="neighbours have given shares"):
        cohort.masked(ADA, replace(cohort.assignment(ADA), told=told))


def signed_cohort(gather: Gather) -> Cohort:
    """Four clients with certificates that have shown their keys."""
    signers, made = Signers(), gather(4)
    made.sites = {each: signers.site(each) for each in made.deltas}
    made.exchange(KEYS, made.deltas)
    return made


def test_signed_keys_are_summed_with(gather: Gather) -> None:
    """Each looks at the others' certificates and signatures."""
    cohort = signed_cohort(gather)

    cohort.exchange(SHARES, cohort.deltas)

    assert len(cohort.known[SHARES]) == 4


def test_keys_that_nobody_has_signed_are_refused(gather: Gather) -> None:
    """By whoever has a certificate: a coordinator may leave the signatures out."""
    cohort = signed_cohort(gather)
    asked = {k: v for k, v in question(cohort, SHARES).items() if k not in ("proofs", "lengths")}

    with pytest.raises(UpdateError, match="not signed"):
        cohort.answer(SHARES, ADA, to_bytes(asked))


def test_keys_that_a_coordinator_has_made_are_refused(gather: Gather) -> None:
    """It shows the same false key of a member to everybody, with the member's own signature."""
    cohort = signed_cohort(gather)
    keys = cohort.known[KEYS][f"{BEA}/keys"].copy()
    keys[0] ^= 1
    cohort.known[KEYS] = {**cohort.known[KEYS], f"{BEA}/keys": keys}

    with pytest.raises(UpdateError, match="not signed by it"):
        cohort.answer(SHARES, ADA, to_bytes(question(cohort, SHARES)))


def test_a_member_of_another_fleet_is_refused(gather: Gather) -> None:
    """Its certificate has another root."""
    cohort = signed_cohort(gather)
    cohort.sites = {**cohort.sites, ADA: Signers().site(ADA)}

    with pytest.raises(UpdateError, match="no certificate of this fleet"):
        cohort.answer(SHARES, ADA, to_bytes(question(cohort, SHARES)))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Every secret of the clients follows from a counter: two cohorts draw the same ones, begun anew."""
    generators: list[np.random.Generator] = []

    def begin() -> None:
        generators[:] = [np.random.default_rng(7)]

    def entropy(size: int) -> bytes:
        return generators[0].bytes(size)

    monkeypatch.setattr("antiphon.client.secure.party.os.urandom", entropy)
    return begin


def test_what_a_coordinator_hears_follows_from_the_sum(
    gather: Gather, counted: Callable[[], None]
) -> None:
    """With the same secrets and other updates of the same sum, every message but the masked ones is the
    same, and so is the sum of those.
    """
    heard = []
    for swapped in (False, True):
        counted()
        cohort = gather(4, folder=f"kept-{swapped}")
        if swapped:
            ada, bea = cohort.deltas[ADA], cohort.deltas[BEA]
            cohort.deltas = {**cohort.deltas, ADA: bea, BEA: ada}
        cohort.through()
        heard.append((cohort.said, cohort.known[UNMASKING], cohort.updates))

    (one, known, updates), (other, known_other, updates_other) = heard
    assert one == other
    np.testing.assert_array_equal(known["mask"], known_other["mask"])
    sent, sent_other = (each[ADA].payload.arrays[MASKED] for each in (updates, updates_other))
    assert not np.array_equal(sent, sent_other)


def test_what_one_client_sends_looks_like_chance(gather: Gather) -> None:
    """A vector of equal numbers under its mask has as many of each byte as chance has."""
    cohort = gather(3)
    cohort.deltas = {
        name: {key: np.zeros_like(each) for key, each in delta.items()}
        for name, delta in cohort.deltas.items()
    }
    counts = np.zeros(256)
    for number in range(1, 40):
        cohort.round, cohort.known, cohort.updates = number, {}, {}
        cohort.through()
        sent = cohort.updates[ADA].payload.arrays[MASKED]
        counts += np.bincount(sent, minlength=256)

    expected = counts.sum() / 256
    deviation = ((counts - expected) ** 2 / expected).sum()
    assert deviation < 400  # of 255 degrees of freedom: beyond it once in ten million
