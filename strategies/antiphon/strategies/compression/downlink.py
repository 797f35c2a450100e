"""The global adapter as a codec leaves it: what clients receive is what the server goes on from.

After every fold the new adapter is packed and unpacked again, and the unpacked one is the global model:
every client starts from the very numbers that the server folds onto. What the codec leaves out is added to
the adapter after the next fold (error feedback, kept by the sender): of an unbiased codec too, whose
rounding would add up to a random walk of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from antiphon.core.types import AnyArray, Params, State, Update
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.error_feedback import corrected, residual
from antiphon.strategies.method import Folded, ServerMethod
from antiphon.strategies.state import prefixed, under

_CODE, _COUNT, _RESIDUAL = "downlink/code", "downlink/count", "downlink/residual"


@dataclass(frozen=True)
class _Downlink:
    method: ServerMethod
    codec: Codec
    seed: int
    feedback: bool


def packed_downlink(
    method: ServerMethod, codec: Codec, seed: int, *, feedback: bool
) -> ServerMethod:
    """Return a method whose global adapter is always one that `codec` can say.

    method: of adapters, its state holding `params/<name>`; seed: of the codec's rounding; feedback: keep
    what the codec leaves out.
    """
    settings = _Downlink(method, codec, seed, feedback)
    return replace(method, init=partial(_init, settings), fold=partial(_fold, settings))


def code(state: State) -> bytes:
    """Return the bytes that clients receive for the adapter in this state."""
    return state[_CODE].tobytes()


def _init(settings: _Downlink, params: Params) -> State:
    return _repacked(settings, settings.method.init(params), {}, 0)


def _fold(
    settings: _Downlink, state: State, updates: Iterable[Update], learning_rate: float
) -> Folded:
    folded = settings.method.fold(state, updates, learning_rate)
    count = int(state[_COUNT][0]) + 1
    return replace(folded, state=_repacked(settings, folded.state, state, count))


def _repacked(settings: _Downlink, state: State, before: State, count: int) -> State:
    """Return a method's state with its adapter packed and unpacked. count: of the packings before."""
    params = {name: value.astype(np.float32) for name, value in under("params", state).items()}
    left_out = {k: v.astype(np.float32) for k, v in under(_RESIDUAL, before).items()}
    wanted = corrected(params, left_out) if left_out else params
    rng = np.random.Generator(np.random.Philox(key=[settings.seed, count]))
    content = settings.codec.encode(wanted, rng)
    said = settings.codec.decode(content, {name: value.shape for name, value in params.items()})
    kept = {name: value for name, value in state.items() if not name.startswith("downlink/")}
    packed: dict[str, AnyArray] = {
        _CODE: np.frombuffer(content, np.uint8),
        _COUNT: np.array([count], np.int64),
    }
    if settings.feedback:
        packed |= prefixed(_RESIDUAL, dict(residual(wanted, said)))
    return {**kept, **prefixed("params", said), **packed}
