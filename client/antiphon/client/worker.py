"""One process that can train and measure: the base model loaded once, the run's method around it.

The simulator keeps one worker for all of its clients; a daemon keeps one for itself.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from antiphon.client.budget import Budget, Meter
from antiphon.client.by_round import ByRound
from antiphon.client.data.clients import ClientData
from antiphon.client.evaluation import EvaluationPlan, HeldOutScores, evaluate
from antiphon.client.exchanges.exchange import AtSite, Half, Kept, answered, half
from antiphon.client.golden import TorchDraws
from antiphon.client.language_model import load
from antiphon.client.method import Method, Role
from antiphon.client.secure.masking import MaskingPlace, masking_of
from antiphon.client.trainers.trainer import OnStep
from antiphon.core import golden, registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, Package, Update
from antiphon.strategies.bases.base import Need
from antiphon.strategies.methods.method import method_of

_OF_TRAINERS = "trainer"


class Worker:
    """A loaded model with the run's method. roles: what its base allows. Close it when the run is over."""

    def __init__(self, config: RunConfig) -> None:
        """Load the base model and put the run's space around it.

        Raises ModelError or ConfigError where the model does not fit the config.
        """
        if config.engine.threads:
            torch.set_num_threads(config.engine.threads)
        self._asked = method_of(config)
        self.model = load(
            config.model.model_name_or_path,
            config.model.device,
            config.model.base,
            self._asked.wants,
        )
        self._measurement = EvaluationPlan(
            config.evaluation.batch_size,
            config.evaluation.rouge_examples if config.evaluation.rouge else None,
            config.evaluation.max_new_tokens,
        )
        self._asked.check_base(self.model.base)
        self.roles = self._asked.roles_on(self.model.base)
        self._method = self._make_method(config)
        self._config, self._halves = config, dict[str, Half]()
        self._masking = masking_of(config)

    def _make_method(self, config: RunConfig) -> Method:
        asked = self._asked
        if any(Need.DRAWS in each.trainer.needs for each in self.roles):
            golden.check(TorchDraws(self.model.device), f"torch on {self.model.device}")
        given = {"config": config, "model": self.model}
        roles = {
            each.name: Role(
                registry.build(registry.HALVES["trainer"], each.trainer.kind, {}, given),
                registry.build(registry.HALVES["form"], each.form.kind, {}, given),
            )
            for each in self.roles
        }
        space = registry.build(registry.HALVES["space"], asked.space.kind, {}, given)
        return Method(self.model, space, roles)

    def train(
        self,
        assignment: Assignment,
        download: Package,
        data: ClientData,
        on_step: OnStep,
        budget: Budget | None = None,
        keep: Path | None = None,
        place: MaskingPlace | None = None,
    ) -> Update:
        """Carry out one assignment on one client's data, at least one step of it.

        It ends early where the budget or the assignment's token limit is used up; the update says how
        many steps it holds. keep: the client's folder of the run, for what its next round begins with;
        none: each round begins with nothing. place: of a run whose updates leave under masks. An exception
        of `on_step` passes through; the worker can go on after it.
        Raises UpdateError for a role that the base does not allow, and where an update cannot be masked.
        """
        if assignment.method not in {each.name for each in self.roles}:
            raise UpdateError(
                self._asked.refusal(self.model.base, self._asked.role(assignment.method))
            )
        meter = Meter((budget or Budget()).with_tokens(assignment.max_tokens))
        kept = ByRound(keep, _OF_TRAINERS) if keep else None
        update = self._method.train(assignment, download, data, on_step, meter, kept)
        if self._masking is None:
            return update
        if place is None:
            raise UpdateError("the run's updates leave under masks: say in which run and from what")
        return self._masking.masked(update, assignment, download, place)

    def answer(
        self,
        exchange: str,
        number: int,
        message: bytes,
        kept: Kept,
        data: ClientData,
        site: AtSite,
    ) -> bytes:
        """Answer what an exchange of round `number` asks of one client, as it travels both ways.

        kept: the client's own; site: see AtSite. Raises UpdateError where it cannot be answered.
        """
        if exchange not in self._halves:
            self._halves[exchange] = half(exchange, self._config, {"model": self.model})
        return answered(
            self._halves[exchange],
            number=number,
            exchange=exchange,
            message=message,
            kept=kept,
            data=data,
            site=site,
        )

    def load(self, download: Package) -> None:
        """Put a global model in place, to be measured."""
        self._method.load(download)

    def evaluate(
        self, data: ClientData, on_batch: Callable[[], None] = lambda: None
    ) -> HeldOutScores:
        """Measure the model that was loaded last on a client's held-out examples.

        on_batch: called before each batch; an exception of it passes through.
        """
        return evaluate(self.model, data.evaluation, self._measurement, on_batch)

    def close(self) -> None:
        """Give back files and memory."""
        self._method.close()


def peak_memory_bytes() -> int:
    """Return the most memory this process has held: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
