"""Error feedback: what it is for, and what it refuses. That nothing is lost is a law (members/)."""

import numpy as np
import pytest

from antiphon.core.errors import UpdateError
from antiphon.strategies.compression.ecdq import ecdq
from antiphon.strategies.compression.error_feedback import corrected, residual

SHAPES = {"a": (40, 8), "b": (8, 50)}


def deltas(rounds, seed):
    """Deltas whose two tensors differ in scale by a factor of ten."""
    rng = np.random.default_rng(seed)
    scale = {"a": 1.0, "b": 0.1}
    return [
        {
            name: (scale[name] * rng.normal(size=shape)).astype(np.float32)
            for name, shape in SHAPES.items()
        }
        for _ in range(rounds)
    ]


def test_without_feedback_small_tensors_are_never_sent():
    """What error feedback is for: at 0.1 bits a tensor of small scale arrives only with it."""
    codec, rng, kept = ecdq(bits=0.1), np.random.default_rng(0), {}
    with_feedback, delta = np.zeros(SHAPES["b"]), deltas(1, 0)[0]

    without = codec.decode(codec.encode(delta, rng), SHAPES)["b"]
    for _ in range(40):
        wanted = corrected(delta, kept)
        decoded = codec.decode(codec.encode(wanted, rng), SHAPES)
        kept = residual(wanted, decoded)
        with_feedback += decoded["b"]

    assert not without.any()
    assert np.count_nonzero(with_feedback) > 0


def test_decay_shrinks_a_stale_residual():
    """corrected = Δ + decay·e."""
    delta, kept = deltas(2, 1)

    got = corrected(delta, kept, decay=0.5)

    np.testing.assert_allclose(got["a"], delta["a"] + 0.5 * kept["a"], rtol=1e-6)


def test_first_round_has_no_residual():
    """An empty residual is zero, and the delta itself is not changed by what follows."""
    delta = deltas(1, 0)[0]

    got = corrected(delta, {})
    got["a"] += 1

    np.testing.assert_array_equal(delta["a"], deltas(1, 0)[0]["a"])


def test_a_residual_of_another_adapter_is_refused():
    """After a change of rank the residual must be dropped, and the error says so."""
    delta = deltas(1, 0)[0]

    with pytest.raises(UpdateError, match="drop the residual"):
        corrected(delta, {**delta, "a": np.zeros((40, 4), np.float32)})
    with pytest.raises(UpdateError, match="only one side"):
        corrected(delta, {"a": delta["a"]})
