"""What secure sums are made of: masks, packed words, the grid, shares, sealed shares and neighbours."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.strategies.secure.grid import Grid
from antiphon.strategies.secure.masks import add_mask, agree, public_of
from antiphon.strategies.secure.neighbours import shares_needed
from antiphon.strategies.secure.packed import pack, packed_bytes, unpack
from antiphon.strategies.secure.sealed import open_sealed, seal
from antiphon.strategies.secure.shamir import PRIME, combine, split

SEED = bytes(range(32))


def zeros(words: int, bits: int) -> np.ndarray:
    return np.zeros(words, np.uint32 if bits <= 32 else np.uint64)


def test_two_agree_on_one_secret() -> None:
    """Each with its own key and the other's public one."""
    one, other = os.urandom(32), os.urandom(32)

    assert agree(one, public_of(other), b"x") == agree(other, public_of(one), b"x")


def test_keys_are_those_of_the_standard() -> None:
    """RFC 7748, section 6.1: Bob's."""
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")

    expected = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert public_of(bob).hex() == expected


def test_what_is_agreed_on_is_for_one_purpose() -> None:
    """A mask of another round, or another pair, is another mask."""
    one, other = os.urandom(32), public_of(os.urandom(32))

    assert agree(one, other, b"round 1") != agree(one, other, b"round 2")


@pytest.mark.parametrize("public", [bytes(32), b"short"])
def test_a_public_key_with_which_nothing_is_secret_is_refused(public: bytes) -> None:
    """The zero point makes every shared secret the same."""
    with pytest.raises(UpdateError):
        agree(SEED, public, b"x")


def test_a_mask_is_the_key_stream_of_aes() -> None:
    """In counter mode from zero, as words of four bytes, the lowest first."""
    stream = Cipher(algorithms.AES256(SEED), modes.CTR(bytes(16))).encryptor().update(bytes(40))
    total = zeros(10, 32)

    add_mask(total, SEED, 32, sign=1)

    np.testing.assert_array_equal(total, np.frombuffer(stream, "<u4"))


@given(st.integers(0, 200_000), st.integers(1, 40))
def test_what_is_added_and_subtracted_leaves_nothing(words: int, bits: int) -> None:
    """Modulo the power of two that the sum has, over several pieces of the key stream."""
    total = zeros(words % 9000 + 70_000 * (words % 2), bits)
    before = total + total.dtype.type(1 if bits > 1 else 0)
    masked = before.copy()

    add_mask(masked, SEED, bits, sign=1)
    changed = len(masked) < 64 or not np.array_equal(masked, before)
    add_mask(masked, SEED, bits, sign=-1)

    np.testing.assert_array_equal(masked, before)
    assert changed


@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 2**32))
def test_packed_numbers_are_whole_bits_and_come_back(bits: int, count: int, seed: int) -> None:
    """Of any width, and with no byte more than they need."""
    values = np.random.default_rng(seed).integers(0, 1 << bits, count, np.uint64)
    values = values.astype(np.uint32 if bits <= 32 else np.uint64)

    content = pack(values, bits)

    assert len(content) == packed_bytes(count, bits) == -(-count * bits // 8)
    np.testing.assert_array_equal(unpack(content, count, bits), values)


@pytest.mark.parametrize("content", [np.zeros(3, np.uint8), np.array([0, 0, 0, 1], np.uint8)])
def test_a_vector_of_another_length_is_refused(content: np.ndarray) -> None:
    """Bytes too few, and bits behind the last number."""
    with pytest.raises(UpdateError):
        unpack(content, 3, 9)


@given(st.integers(1, 30), st.integers(2, 24), st.integers(0, 2**32))
def test_the_sum_on_the_grid_is_the_sum_of_the_parts(members: int, bits: int, seed: int) -> None:
    """Nothing wraps, and what each lost by rounding is less than a step."""
    rng = np.random.default_rng(seed)
    grid, values = Grid(2.0, bits, members), rng.uniform(-2, 2, (members, 17)).astype(np.float32)
    whole = [grid.quantise(each, rng) for each in values]

    total = np.sum(whole, axis=0, dtype=np.uint64)

    assert int(total.max()) < 1 << grid.modulus_bits
    parts = np.sum([grid.total(each, 1) for each in whole], axis=0)
    np.testing.assert_allclose(grid.total(total, members), parts, atol=1e-9 * members)
    assert np.abs(grid.total(total, members) - values.sum(0)).max() <= members * grid.step * 1.001


def test_rounding_favours_no_side() -> None:
    """The mean of many roundings is the number."""
    grid, rng = Grid(1.0, 4, 1), np.random.default_rng(0)
    values = np.full(200_000, 0.3, np.float32)

    mean = grid.total(grid.quantise(values, rng), 1).mean()

    assert mean == pytest.approx(0.3, abs=5 * grid.step / 2 / np.sqrt(len(values)))


def test_what_is_beyond_the_reach_is_clipped() -> None:
    """No client's number counts for more than the range."""
    grid = Grid(1.0, 8, 3)

    clipped = grid.total(grid.quantise(np.array([-9, 9], np.float32), np.random.default_rng(0)), 1)

    np.testing.assert_allclose(clipped, [-1, 1])


def test_zero_is_zero() -> None:
    """Exactly: of the K coefficients of a run by seeds most are, and need not go down."""
    grid, rng = Grid(0.3, 16, 7), np.random.default_rng(0)

    whole = sum(grid.quantise(np.zeros(100, np.float32), rng).astype(np.uint64) for _ in range(7))

    assert not grid.total(whole, 7).any()


def test_a_number_that_is_none_lies_on_no_grid() -> None:
    """Infinities and NaN would become some whole number."""
    with pytest.raises(UpdateError, match="diverged"):
        Grid(1.0, 8, 3).quantise(np.array([np.nan], np.float32), np.random.default_rng(0))


def test_a_sum_that_no_clients_can_have_is_noticed() -> None:
    """Their masks have not cancelled."""
    with pytest.raises(UpdateError, match="cancelled"):
        Grid(1.0, 8, 5).total(np.array([3 * 254 + 1], np.uint32), 3)


def test_a_grid_too_fine_for_its_members_is_refused() -> None:
    """Sums have forty bits at most."""
    with pytest.raises(ConfigError):
        Grid(1.0, 24, 1 << 20)


@given(st.integers(1, 12), st.data())
def test_any_of_enough_shares_give_the_secret(points: int, data: st.DataObject) -> None:
    """Whichever they are, and with more of them too."""
    threshold = data.draw(st.integers(1, points))
    shares = split(SEED, threshold, range(1, points + 1), os.urandom)

    for chosen in list(combinations(range(1, points + 1), threshold))[:20]:
        assert combine({each: shares[each] for each in chosen}, threshold) == SEED
    assert combine(shares, threshold) == SEED


def test_one_share_too_few_gives_nothing() -> None:
    """It is said, and nothing is guessed."""
    shares = split(SEED, 3, range(1, 6), os.urandom)

    with pytest.raises(UpdateError):
        combine({each: shares[each] for each in (1, 2)}, 3)


@pytest.mark.parametrize("false", [b"\0" * 32, PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_what_is_no_share_is_refused(false: bytes) -> None:
    """Of another size, or no element of the field."""
    shares = split(SEED, 2, range(1, 4), os.urandom)

    with pytest.raises(UpdateError):
        combine({1: shares[1], 2: false}, 2)


def test_the_same_coefficients_are_never_used_twice() -> None:
    """Shares of one secret in two rounds say nothing together."""
    one, other = (split(SEED, 2, [1, 2], os.urandom) for _ in range(2))

    assert one[1] != other[1]


def test_what_is_sealed_opens_with_its_key_and_context_only() -> None:
    """A share that was sealed for other members, or changed on its way, is none."""
    sealed = seal(SEED, b"share", b"context", os.urandom)

    assert open_sealed(SEED, sealed, b"context") == b"share"
    for key, content, context in (
        (bytes(32), sealed, b"context"),
        (SEED, sealed[:-1] + b"\0", b"context"),
        (SEED, sealed, b"another"),
        (SEED, b"", b"context"),
    ):
        with pytest.raises(UpdateError):
            open_sealed(key, content, context)


@pytest.mark.parametrize("threshold", [0.51, 0.6, 0.7, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("members", [2, 3, 5, 10, 64, 100, 1000])
def test_no_two_sets_of_members_give_both_secrets(members: int, threshold: float) -> None:
    """More than half of the others are needed for either, and all of them are enough."""
    needed = shares_needed(members, threshold)

    assert members - 1 < 2 * needed <= 2 * (members - 1)


@pytest.mark.parametrize("members", [3, 4, 7, 10, 33, 64, 100])
def test_as_many_survivors_as_the_threshold_says_give_every_secret(members: int) -> None:
    """Those of a survivor too, who does not count itself."""
    survivors = -(-7 * members // 10)

    assert shares_needed(members, 0.7) <= survivors - 1
