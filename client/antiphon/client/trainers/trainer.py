"""A trainer: how a client finds its delta, from a start in a space, on its own data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.client.language_model import LanguageModel
from antiphon.client.spaces.space import Space
from antiphon.core.types import Assignment, State
from antiphon.strategies.forms.walk import Walk

OnStep = Callable[[int, float], None]
"""Called after each local step with (steps done, loss of its batch in nats per token)."""


@dataclass(frozen=True)
class TrainerResult:
    """What a trainer has done beside moving the space's numbers.

    losses: of the steps that moved them, nats per token; walk: the steps as seeds and scalars, where they
    were such; none: they were not; kept: what the client's next round is to begin with.
    """

    losses: tuple[float, ...]
    walk: Walk | None = None
    kept: State = field(default_factory=dict)


class Trainer(Protocol):
    """Steps from where a space stands."""

    def train(
        self,
        model: LanguageModel,
        space: Space,
        assignment: Assignment,
        data: ClientData,
        on_step: OnStep,
        meter: Meter,
        before: State,
    ) -> TrainerResult:
        """Take the assignment's steps, as far as the meter's budget goes; an exception of `on_step` passes
        through.

        before: what this client's last folded round has `kept`; empty: nothing, or it was lost.
        """
        ...
