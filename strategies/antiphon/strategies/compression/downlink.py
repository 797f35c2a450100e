"""The global adapter as a codec leaves it: what clients receive is what the server goes on from.

After every fold the new adapter is packed and unpacked again, and the unpacked one is the global model:
every client starts from the very numbers that the server folds onto. What the codec leaves out is added to
the adapter after the next fold (error feedback, kept by the sender): of an unbiased codec too, whose
rounding would add up to a random walk of the model.
"""

from __future__ import annotations

import numpy as np

from antiphon.core.types import AnyArray, State
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.error_feedback import corrected, residual
from antiphon.strategies.fold import Begun, Context, Moved, Stage, Turn, moved_to
from antiphon.strategies.state import prefixed, under

_NAME = "downlink"
_CODE, _COUNT, _RESIDUAL = "code", "count", "residual"


def packed_downlink(codec: Codec, seed: int, *, feedback: bool) -> Stage:
    """Return the stage that leaves an adapter that `codec` can say; it is the last of its chain.

    seed: of the codec's rounding; feedback: keep what the codec leaves out.
    """

    def said(params: Tensors, before: State, count: int) -> tuple[Tensors, State]:
        # count: of the packings before.
        as_floats = {name: value.astype(np.float32) for name, value in params.items()}
        left_out = {k: v.astype(np.float32) for k, v in under(_RESIDUAL, before).items()}
        wanted = corrected(as_floats, left_out) if left_out else as_floats
        rng = np.random.Generator(np.random.Philox(key=[seed, count]))
        content = codec.encode(wanted, rng)
        decoded = codec.decode(content, {name: value.shape for name, value in as_floats.items()})
        kept: dict[str, AnyArray] = {
            _CODE: np.frombuffer(content, np.uint8),
            _COUNT: np.array([count], np.int64),
        }
        if feedback:
            kept |= prefixed(_RESIDUAL, dict(residual(wanted, decoded)))
        return decoded, kept

    def begin(params: Tensors) -> Begun:
        return Begun(*reversed(said(params, {}, 0)))

    def after(kept: State, turn: Turn, context: Context) -> Moved:
        before = under(_NAME, turn.state)
        return moved_to(turn.start, *said(turn.params, before, int(before[_COUNT][0]) + 1))

    return Stage(_NAME, begin=begin, after=after)


def code(state: State) -> bytes:
    """Return the bytes that clients receive for the adapter in this state."""
    return state[f"{_NAME}/{_CODE}"].tobytes()
