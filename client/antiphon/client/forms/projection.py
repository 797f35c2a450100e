"""Form `projection` at the client: the delta of any trainer on seeded directions."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import TrainerResult
from antiphon.core.config import RunConfig
from antiphon.core.types import Assignment, Package
from antiphon.strategies.forms.projection import projected


def projection(*, config: RunConfig) -> ProjectionForm:
    """Return the client's half of the form."""
    return ProjectionForm(config)


@dataclass(frozen=True)
class ProjectionForm:
    """See `form.Form`."""

    config: RunConfig

    def package(self, space: Space, trained: TrainerResult, assignment: Assignment) -> Package:
        """Return K numbers. Raises UpdateError where the space knows no delta."""
        return projected(space.delta(), assignment.client, assignment.round, self.config)
