"""Form `scalars` at the client: a seed and a number for each step, whatever the size of the space."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import TrainerResult
from antiphon.core.config import RunConfig
from antiphon.core.directions import run_key
from antiphon.core.errors import UpdateError
from antiphon.core.seed_choice import given
from antiphon.core.types import Assignment, Package
from antiphon.strategies.forms.scalars import DRAWN, packed


def scalars(*, config: RunConfig) -> ScalarsForm:
    """Return the client's half of the form."""
    seeds = config.seeds
    return ScalarsForm(run_key(config.seed), seeds.num_seeds, drawn=seeds.sampling == DRAWN)


@dataclass(frozen=True)
class ScalarsForm:
    """See `form.Form`. key: of the run's directions; num_seeds: K; drawn: clients draw their seeds."""

    key: int
    num_seeds: int
    drawn: bool

    def package(self, space: Space, trained: TrainerResult, assignment: Assignment) -> Package:
        """Return the walk. Raises UpdateError where the steps were along no seeds."""
        if trained.walk is None:
            raise UpdateError("the trainer walked along no seeds: choose the form delta")
        known = None if self.drawn else given(assignment, self.key, self.num_seeds)
        return packed(trained.walk, known)
