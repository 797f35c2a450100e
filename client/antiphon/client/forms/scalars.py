"""Form `scalars` at the client: a seed and a number for each step, whatever the size of the space."""

from __future__ import annotations

from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import TrainerResult
from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, Package
from antiphon.strategies.forms.scalars import packed


def scalars() -> ScalarsForm:
    """Return the client's half of the form."""
    return ScalarsForm()


class ScalarsForm:
    """See `form.Form`."""

    def package(self, space: Space, trained: TrainerResult, assignment: Assignment) -> Package:
        """Return the walk. Raises UpdateError where the steps were along no seeds."""
        if trained.walk is None:
            raise UpdateError("the trainer walked along no seeds: choose the form delta")
        return packed(trained.walk)
