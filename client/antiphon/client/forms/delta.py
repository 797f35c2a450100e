"""Form `delta` at the client: the change of every trained number; a codec packs it on its way."""

from __future__ import annotations

from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import TrainerResult
from antiphon.core.types import Assignment, Package


def delta() -> DeltaForm:
    """Return the client's half of the form."""
    return DeltaForm()


class DeltaForm:
    """See `form.Form`."""

    def package(self, space: Space, trained: TrainerResult, assignment: Assignment) -> Package:
        """Return trained − start."""
        return Package("delta", space.delta())
