"""The client's half of a method: a space, and for each role of the run a trainer and a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.client.batch_losses import loss_metrics
from antiphon.client.budget import Meter
from antiphon.client.by_round import ByRound
from antiphon.client.data.clients import ClientData
from antiphon.client.forms.form import Form
from antiphon.client.language_model import LanguageModel
from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import OnStep, Trainer
from antiphon.core.types import Assignment, Package, Update


@dataclass(frozen=True)
class Role:
    """What some of a run's clients do: how they find a delta, and how it travels."""

    trainer: Trainer
    form: Form


class Method:
    """One process's half of a run: take the global model, train it on local data, say what changed."""

    def __init__(self, model: LanguageModel, space: Space, roles: Mapping[str, Role]) -> None:
        """roles: by the name that assignments call them."""
        self._model, self._space, self._roles = model, space, dict(roles)

    def load(self, download: Package) -> None:
        """Put a global model in place, to be measured."""
        self._space.load(download)

    def train(
        self,
        assignment: Assignment,
        download: Package,
        data: ClientData,
        on_step: OnStep,
        meter: Meter,
        kept: ByRound | None = None,
    ) -> Update:
        """Carry out an assignment from `download`, as far as the meter's budget goes.

        kept: what trainers keep of this client's rounds; none: nothing is kept. The process's model is
        undefined afterwards, also where `on_step` raised.
        """
        role = self._roles[assignment.method]
        self._space.start(download)
        before = kept.before(assignment) if kept else {}
        trained = role.trainer.train(
            self._model, self._space, assignment, data, on_step, meter, before
        )
        if kept and trained.kept:
            kept.keep(assignment, trained.kept)
        return Update(
            client=assignment.client,
            round=assignment.round,
            examples=len(data.train),
            steps=meter.steps,
            payload=role.form.package(self._space, trained, assignment),
            metrics={**loss_metrics(trained.losses), **meter.metrics()},
        )

    def close(self) -> None:
        """Give back what the space holds on disk."""
        self._space.close()
