"""What a server does with a round's delta; each optimizer is a one-line composition of transforms.

Sources: FedAvgM (Hsu et al. 2019), DiLoCo's outer Nesterov (Douillard et al. 2023), FedAdam and
FedYogi (Reddi et al. 2021) with that paper's defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core.errors import ConfigError
from antiphon.core.types import State
from antiphon.strategies.fold import Begun, Context, Moved, Stage, Turn, moved_to
from antiphon.strategies.server_opt import transform
from antiphon.strategies.server_opt.transform import Arrays, Transform
from antiphon.strategies.state import under

_NAME = "opt"


@dataclass(frozen=True)
class ServerOptimizer:
    """A server optimizer as a value.

    init(params) → state; apply(state, params, delta) → (state, params), where delta = aggregate −
    global. linear: the path of the parameters is linear in the deltas, so that it may act on seed
    coefficients.
    """

    init: Callable[[Arrays], State]
    apply: Callable[[State, Arrays, Arrays], tuple[State, Arrays]]
    linear: bool


def compose(*transforms: Transform) -> ServerOptimizer:
    """Make an optimizer of transforms: params ← params + (what the chain makes of the delta)."""
    chain = transform.chain(*transforms)

    def apply(state: State, params: Arrays, delta: Arrays) -> tuple[State, Arrays]:
        after, step = chain.update(state, delta)
        return after, {name: tensor + step[name] for name, tensor in params.items()}

    return ServerOptimizer(chain.init, apply, chain.linear)


def stepping(optimizer: ServerOptimizer) -> Stage:
    """Return the stage that takes the optimizer's step along the delta."""

    def after(kept: State, turn: Turn, context: Context) -> Moved:
        opt, params = optimizer.apply(under(_NAME, turn.state), turn.start, turn.delta)
        return moved_to(turn.start, params, opt)

    return Stage(_NAME, begin=lambda params: Begun(optimizer.init(params)), after=after)


def sgd(*, lr: float = 1.0) -> ServerOptimizer:
    """FedAvg: params + lr·delta; with lr = 1 the aggregate itself."""
    _positive(lr=lr)
    return compose(transform.scale(lr))


def momentum(*, lr: float = 1.0, momentum: float = 0.9) -> ServerOptimizer:
    """FedAvgM: heavy-ball momentum over the rounds."""
    _positive(lr=lr)
    _fraction(momentum=momentum)
    return compose(transform.trace(momentum, nesterov=False), transform.scale(lr))


def nesterov(*, lr: float = 0.7, momentum: float = 0.9) -> ServerOptimizer:
    """DiLoCo's outer optimizer: Nesterov momentum over the rounds."""
    _positive(lr=lr)
    _fraction(momentum=momentum)
    return compose(transform.trace(momentum, nesterov=True), transform.scale(lr))


def adam(
    *, lr: float = 0.01, b1: float = 0.9, b2: float = 0.99, eps: float = 1e-3
) -> ServerOptimizer:
    """FedAdam; eps is the paper's τ, the degree of adaptivity."""
    _positive(lr=lr, eps=eps)
    _fraction(b1=b1, b2=b2)
    return compose(transform.scale_by_adam(b1, b2, eps), transform.scale(lr))


def yogi(
    *, lr: float = 0.01, b1: float = 0.9, b2: float = 0.99, eps: float = 1e-3
) -> ServerOptimizer:
    """FedYogi; eps is the paper's τ, the degree of adaptivity."""
    _positive(lr=lr, eps=eps)
    _fraction(b1=b1, b2=b2)
    return compose(transform.scale_by_yogi(b1, b2, eps), transform.scale(lr))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ConfigError(f"server_opt: {name} is {value}, expected a positive number")


def _fraction(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"server_opt: {name} is {value}, expected a number in [0, 1)")
