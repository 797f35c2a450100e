"""The client's half of a form: what of a trained delta travels."""

from __future__ import annotations

from typing import Protocol

from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import TrainerResult
from antiphon.core.types import Assignment, Package


class Form(Protocol):
    """Makes a package of what a client has trained."""

    def package(self, space: Space, trained: TrainerResult, assignment: Assignment) -> Package:
        """Return what is sent. Raises UpdateError where the trainer or the space does not know it."""
        ...
