"""The server's half of a run without a config: spaces, forms and chains from plain arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.core.coefficients import SeedCoefficients, coefficients_of
from antiphon.core.types import Assignment, Package, State, Update
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.fold import Context, Folded, Stage
from antiphon.strategies.forms.delta import delta
from antiphon.strategies.forms.form import Form
from antiphon.strategies.forms.scalars import walks
from antiphon.strategies.guard import guard as guarding
from antiphon.strategies.methods.method import chain
from antiphon.strategies.methods.ranks import Ranks
from antiphon.strategies.methods.served import Served
from antiphon.strategies.seed_space import Directions, walked_tensors
from antiphon.strategies.server_opt.optimizers import ServerOptimizer
from antiphon.strategies.spaces.lora import factors
from antiphon.strategies.spaces.span import Over, coefficients

ALONG = Directions("lowrank", 1, 11)
NOWHERE = Over(False, lambda shapes: {}, lambda shapes, sent: ({}, 1.0))


def sent(tensors: Mapping[str, Any]) -> Package:
    """A delta as it travels."""
    return Package("delta", tensors)


def walk(index: Any, value: Any) -> Package:
    """Steps along seeds as they travel."""
    arrays = {"index": np.asarray(index, np.uint32), "value": np.asarray(value, np.float32)}
    return Package("scalars", arrays)


@dataclass(frozen=True)
class Method:
    """A run's server half, and what tests call it with. num_seeds: K, where clients get coefficients."""

    served: Served
    num_seeds: int | None = None

    def init(self, params: Mapping[str, Any]) -> State:
        """The state before the first round."""
        first = self.served.space.initial(None) if self.num_seeds else params  # type: ignore[arg-type]
        return self.served.init(first)

    def check(self, state: State, update: Update, assignment: Assignment) -> None:
        """As `Served.check`."""
        self.served.check(state, update, assignment)

    def fold(self, state: State, updates: Iterable[Update], learning_rate: float) -> Folded:
        """A round."""
        return self.served.fold(state, updates, Context(1, learning_rate))

    def download(self, state: State, r: int) -> Any:
        """What a client receives: tensors by name, or coefficients."""
        package = self.served.download(state, r)
        return coefficients_of(package, self.num_seeds) if self.num_seeds else package.arrays

    def probabilities(self, state: State) -> Any:
        """How likely a client is to draw each seed."""
        received: SeedCoefficients = self.download(state, 0)
        return received.probabilities


def lora(
    *,
    aggregation: Any = None,
    optimizer: ServerOptimizer,
    lora_alpha: float = 8,
    r: int = 4,
    client_ranks: Mapping[str, int] | None = None,
    max_norm: float | None = None,
    protections: Sequence[Any] = (),
    walking: Form | None = None,
    along: Directions = ALONG,
    num_seeds: int = 32,
    last: Sequence[Stage] = (),
    between: Sequence[Stage] = (),
) -> Method:
    """Adapters. walking: what clients of role `seeds` send; last, between: see `chain`."""
    space = factors(
        aggregation or product(),
        alpha=lora_alpha,
        r=r,
        walked=walked_tensors(along, num_seeds),
        max_norm=max_norm,
    )
    forms = {"lora": delta()} | ({"seeds": walking} if walking else {})
    chained = chain(space, protections, optimizer, last, between)
    return Method(Served(space, forms, chained, Ranks(r, client_ranks or {})))


def seeds(
    *,
    num_seeds: int,
    key: int,
    optimizer: ServerOptimizer,
    max_scalar: float = 1e3,
    sampling: str = "uniform",
    guard: float | None = None,
    protections: Sequence[Any] = (),
    aggregation: Any = None,
) -> Method:
    """Coefficients of seeds. key: of the run's directions; guard: the guard's factor."""
    drawn = sampling == "pro"
    rule = aggregation or product()
    space = coefficients(rule, num_seeds, over=NOWHERE, drawn=drawn)
    forms = {"seeds": walks(num_seeds, key=key, max_scalar=max_scalar, drawn=drawn)}
    before = () if guard is None else (guarding(guard),)
    folded = chain(space, protections, optimizer, before=before)
    return Method(Served(space, forms, folded, Ranks(1)), num_seeds)
