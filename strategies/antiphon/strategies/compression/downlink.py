"""The global adapter as a codec leaves it: what clients receive is what the server goes on from.

After every fold the new adapter, or how the fold has changed it, is packed and unpacked again, and what
is unpacked makes the global model: every client starts from the very numbers that the server folds onto.
What the codec leaves out is added after the next fold (error feedback, kept by the sender): of an unbiased
codec too, whose rounding would add up to a random walk of the model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import to_content
from antiphon.core.types import AnyArray, FloatArray, Params, State
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.error_feedback import corrected, residual
from antiphon.strategies.fold import Begun, Context, Moved, Stage, Turn, moved_to
from antiphon.strategies.state import prefixed, under

_NAME = "downlink"
_CODE, _COUNT, _RESIDUAL, _SINCE = "code", "count", "residual", "since"

Received = Callable[[State], Params]
"""state → the model as a client of the full rank has it in its file."""


def packed_downlink(codec: Codec, seed: int, *, feedback: bool) -> Stage:
    """Return the stage that leaves an adapter that `codec` can say; it is the last of its chain.

    seed: of the codec's rounding; feedback: keep what the codec leaves out.
    """

    def begin(params: Tensors) -> Begun:
        return Begun(*reversed(_said(codec, seed, feedback, _floats(params), {}, 0)))

    def after(kept: State, turn: Turn, context: Context) -> Moved:
        before = under(_NAME, turn.state)
        count = int(before[_COUNT][0]) + 1
        said = _said(codec, seed, feedback, _floats(turn.params), before, count)
        return moved_to(turn.start, *said)

    return Stage(_NAME, begin=begin, after=after)


def packed_changes(codec: Codec, seed: int, received: Received, *, feedback: bool) -> Stage:
    """Return the stage that leaves an adapter to which `codec` can say the way from the one before it.

    Its state names that one by the hash of its file, so that whoever holds that very file can add the
    change. Before the first round nothing is packed. Arguments as of `packed_downlink`.
    """

    def begin(params: Tensors) -> Begun:
        return Begun({_COUNT: np.zeros(1, np.int64)})

    def after(kept: State, turn: Turn, context: Context) -> Moved:
        before, start = under(_NAME, turn.state), received(turn.state)
        wanted = {name: (turn.params[name] - start[name]).astype(np.float32) for name in start}
        count = int(before[_COUNT][0]) + 1
        change, said = _said(codec, seed, feedback, wanted, before, count)
        since = bytes.fromhex(to_content(start).sha256)
        said = {**said, _SINCE: np.frombuffer(since, np.uint8)}
        return moved_to(turn.start, added(start, change), said)

    return Stage(_NAME, begin=begin, after=after)


def added(start: Params, change: Params) -> dict[str, FloatArray]:
    """Return the model to which a change leads: the same bits wherever it is computed.

    Raises UpdateError for other tensors, and where the sum is not finite.
    """
    if {name: each.shape for name, each in start.items()} != {
        name: each.shape for name, each in change.items()
    }:
        raise UpdateError("a change of other tensors than those of the model that it is added to")
    with np.errstate(over="ignore", invalid="ignore"):
        sums = {name: start[name] + change[name] for name in start}
    if not all(np.isfinite(each).all() for each in sums.values()):
        raise UpdateError("a model and its change add up to NaN or Inf")
    return sums


def code(state: State) -> bytes:
    """Return the bytes that clients receive for the adapter in this state, or for its change."""
    return state[f"{_NAME}/{_CODE}"].tobytes()


def since(state: State) -> str:
    """Return the hex SHA-256 of the model whose change `code` is; empty: there is none before it."""
    name = f"{_NAME}/{_SINCE}"
    return state[name].tobytes().hex() if name in state else ""


def _floats(params: Tensors) -> dict[str, FloatArray]:
    return {name: value.astype(np.float32) for name, value in params.items()}


def _said(
    codec: Codec, seed: int, feedback: bool, tensors: Params, before: State, count: int
) -> tuple[dict[str, FloatArray], dict[str, AnyArray]]:
    """Return what is unpacked of tensors and of what was left out before, and what is to be kept.

    count: of the packings before.
    """
    left_out = {k: v.astype(np.float32) for k, v in under(_RESIDUAL, before).items()}
    wanted = corrected(tensors, left_out) if left_out else tensors
    rng = np.random.Generator(np.random.Philox(key=[seed, count]))
    content = codec.encode(wanted, rng)
    decoded = codec.decode(content, {name: value.shape for name, value in tensors.items()})
    kept: dict[str, AnyArray] = {
        _CODE: np.frombuffer(content, np.uint8),
        _COUNT: np.array([count], np.int64),
    }
    if feedback:
        kept |= prefixed(_RESIDUAL, dict(residual(wanted, decoded)))
    return decoded, kept
