"""Server optimizers as compositions: a transform turns one round's delta into another delta.

A transform is a pair of pure functions. `init(params)` gives its state, `update(state, delta)`
gives the new state and the new delta. Every tensor keeps its dtype; each element is computed in
float64 and rounded once. The delta points downhill already (aggregate − global), so that params +
delta is progress.

Adam and Yogi follow Reddi et al., "Adaptive Federated Optimization" (ICLR 2021), Algorithm 2: no
bias correction, and a second moment that begins at eps².
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.core.types import Float64Array, State
from antiphon.strategies.state import prefixed, under

Array = npt.NDArray[np.floating[Any]]
Arrays = Mapping[str, Array]
SecondMoment = Callable[[Float64Array, Float64Array], Float64Array]


@dataclass(frozen=True)
class Transform:
    """A pair of pure functions on tensors by name; `linear`: deltas out are linear in deltas in."""

    init: Callable[[Arrays], State]
    update: Callable[[State, Arrays], tuple[State, Arrays]]
    linear: bool


def chain(*transforms: Transform) -> Transform:
    """Apply transforms from left to right; the state of the i-th lies under `i/`."""

    def init(params: Arrays) -> State:
        parts = (prefixed(str(i), each.init(params)) for i, each in enumerate(transforms))
        return {name: value for part in parts for name, value in part.items()}

    def update(state: State, delta: Arrays) -> tuple[State, Arrays]:
        after: dict[str, Any] = {}
        for i, each in enumerate(transforms):
            part, delta = each.update(under(str(i), state), delta)
            after |= prefixed(str(i), part)
        return after, delta

    return Transform(init, update, all(each.linear for each in transforms))


def scale(factor: float) -> Transform:
    """Multiply the delta by `factor`, the server's learning rate."""

    def update(state: State, delta: Arrays) -> tuple[State, Arrays]:
        if factor == 1.0:
            return state, delta
        return state, {name: _rounded(factor * _wide(d), d) for name, d in delta.items()}

    return Transform(lambda params: {}, update, linear=True)


def trace(momentum: float, nesterov: bool) -> Transform:
    """Momentum: m ← βm + δ, giving m, or δ + βm in Nesterov's form (Sutskever et al. 2013)."""

    def update(state: State, delta: Arrays) -> tuple[State, Arrays]:
        after = {
            name: _rounded(momentum * _wide(state[f"momentum/{name}"]) + _wide(d), d)
            for name, d in delta.items()
        }
        step: Arrays = after
        if nesterov:
            step = {n: _rounded(_wide(d) + momentum * _wide(after[n]), d) for n, d in delta.items()}
        return prefixed("momentum", after), step

    return Transform(lambda params: prefixed("momentum", _filled(params, 0.0)), update, linear=True)


def scale_by_adam(b1: float, b2: float, eps: float) -> Transform:
    """Divide the mean delta by the root of the mean square: v ← b2·v + (1 − b2)·δ²."""
    return _adaptive(b1, eps, lambda v, square: b2 * v + (1 - b2) * square)


def scale_by_yogi(b1: float, b2: float, eps: float) -> Transform:
    """As Adam, with a second moment that moves additively: v ← v − (1 − b2)·δ²·sign(v − δ²)."""
    return _adaptive(b1, eps, lambda v, square: v - (1 - b2) * square * np.sign(v - square))


def _adaptive(b1: float, eps: float, second_moment: SecondMoment) -> Transform:
    def init(params: Arrays) -> State:
        return prefixed("first", _filled(params, 0.0)) | prefixed("second", _filled(params, eps**2))

    def update(state: State, delta: Arrays) -> tuple[State, Arrays]:
        after: dict[str, Array] = {}
        step: dict[str, Array] = {}
        for name, d in delta.items():
            first = b1 * _wide(state[f"first/{name}"]) + (1 - b1) * _wide(d)
            second = second_moment(_wide(state[f"second/{name}"]), _wide(d) ** 2)
            after[f"first/{name}"], after[f"second/{name}"] = (
                _rounded(first, d),
                _rounded(second, d),
            )
            step[name] = _rounded(first / (np.sqrt(second) + eps), d)
        return after, step

    return Transform(init, update, linear=False)


def _filled(params: Arrays, value: float) -> dict[str, Array]:
    return {name: np.full_like(tensor, value) for name, tensor in params.items()}


def _wide(tensor: npt.NDArray[Any]) -> Float64Array:
    return tensor.astype(np.float64)


def _rounded(value: Float64Array, like: Array) -> Array:
    return value.astype(like.dtype)
