"""A form at the coordinator: what is known of it beforehand, and what becomes of a package that arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, Update
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.walk import Walked


@dataclass(frozen=True)
class Arrived:
    """An update on its way into a space. start: the global parameters; learning_rate: of the update's own
    assignment; rate_of_round: of the round that folds it; walked: the space's own, see forms/walk.py.
    """

    update: Update
    start: Tensors
    learning_rate: float
    rate_of_round: float
    walked: Walked


def _anything(update: Update, assignment: Assignment) -> None:
    """Accept whatever the space accepts."""


def _whole(update: Update, assignment: Assignment) -> Update:
    return update


def _as_it_is(arrived: Arrived) -> Tensors:
    return arrived.update.payload.arrays


@dataclass(frozen=True)
class Form:
    """How a delta travels; the client's half of the same name makes it.

    kind: its name; packs: as float32 tensors in the shapes of the model that the client received, through
    the codec of the assignment, else as small arrays; walks: it says a walk along seeded directions, and
    needs a trainer that takes one; says: what leaves a site, in words for its owner; tensors: it needs a
    space whose delta is known as tensors. size(numbers, codec, steps) → bytes at most of a delta of so
    many numbers, found in so many steps; a codec that packs nothing here may be none. completed(update,
    assignment) → the update with what its assignment says and the client therefore has not sent;
    check(update, assignment) raises UpdateError for a completed package that is not what the assignment
    asked for; delta(arrived) → the delta, which may be computed tensor by tensor.
    """

    kind: str
    packs: bool
    walks: bool
    says: str
    size: Callable[[int, Codec | None, int], float]
    check: Callable[[Update, Assignment], None] = _anything
    delta: Callable[[Arrived], Tensors] = _as_it_is
    tensors: bool = True
    completed: Callable[[Update, Assignment], Update] = _whole

    def check_carriage(self, client: str, *, has_blob: bool) -> None:
        """Raise UpdateError where tensors came inside a message, or small arrays beside one."""
        if has_blob != self.packs:
            got, asked = "tensors", "small arrays"
            if self.packs:
                got, asked = asked, got
            raise UpdateError(f"client {client} sent {got}, but the round asked for {asked}")


def form(kind: str, config: RunConfig) -> Form:
    """Return an installed form as a run's config sets it. Raises ConfigError."""
    built: Form = registry.build("form", kind, {}, {"config": config})
    return built
