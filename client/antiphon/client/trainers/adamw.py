"""Trainer `adamw`: local steps by gradients on a space's own numbers (Loshchilov & Hutter, ICLR 2019).

The loss is the mean over the completion tokens of the whole accumulated batch, so accumulation gives the
gradient of the large batch even where its parts hold unequal numbers of tokens. The optimizer is fresh in
every round, as its moments belong to weights that the federation has moved since, unless the config asks
for those that the client's last round has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch

from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.client.data.tokens import Batch
from antiphon.client.language_model import IGNORED, LanguageModel, token_losses
from antiphon.client.spaces.space import Space
from antiphon.client.trainers.local_batches import local_batches
from antiphon.client.trainers.trainer import OnStep, TrainerResult
from antiphon.core.config import RunConfig
from antiphon.core.run_sections import TrainingConfig
from antiphon.core.types import AnyArray, Assignment, State
from antiphon.strategies.learning_rate import rate

_STEP = "step"
_PARTS = (_STEP, "exp_avg", "exp_avg_sq")
"""Of the optimizer's state, as torch calls them."""


def adamw(*, config: RunConfig) -> AdamWTrainer:
    """Return the client's half of the trainer, as a run's config sets it."""
    return AdamWTrainer(config.training)


@dataclass(frozen=True)
class AdamWTrainer:
    """See `trainer.Trainer`. training: what the run's config says of it."""

    training: TrainingConfig

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
        """Take the assignment's steps of the run's schedule."""
        torch.manual_seed(assignment.seed + assignment.round)  # dropout draws from it
        training = self.training
        size, accumulation = (
            training.per_device_train_batch_size,
            training.gradient_accumulation_steps,
        )
        batches = local_batches(model, data, assignment, size, accumulation)
        weights = {name: linear.weight for name, linear in space.linears.items()}
        plan = _plan(training, assignment)
        optimizer = optimizer_of(plan, list(weights.values()))
        if training.keep_moments:
            begin_with(optimizer, weights, before)
        losses = train(model, optimizer, batches, plan, on_step, meter)
        return TrainerResult(
            losses, kept=moments(optimizer, weights) if training.keep_moments else {}
        )


def _plan(training: TrainingConfig, assignment: Assignment) -> GradientTraining:
    return GradientTraining(
        rates=tuple(
            rate(
                training.lr_scheduler_type,
                training.learning_rate,
                assignment.first_step + step,
                assignment.total_steps,
                training.warmup_steps,
            )
            for step in range(assignment.steps)
        ),
        accumulation=training.gradient_accumulation_steps,
        weight_decay=training.weight_decay,
        betas=(training.adam_beta1, training.adam_beta2),
        adam_epsilon=training.adam_epsilon,
        max_grad_norm=training.max_grad_norm,
    )


@dataclass(frozen=True)
class GradientTraining:
    """The constants of a client's round. rates: the learning rate of each of its steps."""

    rates: tuple[float, ...]
    accumulation: int
    weight_decay: float
    betas: tuple[float, float]
    adam_epsilon: float
    max_grad_norm: float


def train(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    plan: GradientTraining,
    on_step: OnStep,
    meter: Meter | None = None,
) -> tuple[float, ...]:
    """Train the optimizer's parameters in place, a step for each rate; return the loss of each step.

    meter: counts the steps, and ends them early where its budget is used up.
    """
    meter = meter or Meter()
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    stream = iter(batches)
    losses = []
    with _trainable(model, parameters):
        for done, rate in enumerate(meter.limit(plan.rates), 1):
            for group in optimizer.param_groups:
                group["lr"] = rate
            accumulated = list(islice(stream, plan.accumulation))
            losses.append(_gradient(model, accumulated))
            if plan.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            meter.step_taken(sum(batch.tokens for batch in accumulated))
            on_step(done, losses[-1])
    return tuple(losses)


def optimizer_of(plan: GradientTraining, parameters: list[torch.Tensor]) -> torch.optim.AdamW:
    """Return an optimizer without moments."""
    return torch.optim.AdamW(
        parameters, betas=plan.betas, eps=plan.adam_epsilon, weight_decay=plan.weight_decay
    )


def moments(optimizer: torch.optim.AdamW, weights: Mapping[str, torch.Tensor]) -> State:
    """Return the optimizer's moments by the names of the weights, and how many steps have made them."""
    return {
        f"{part}/{name}": each.detach().cpu().numpy()
        for name, weight in weights.items()
        for part, each in optimizer.state[weight].items()
    }


def begin_with(
    optimizer: torch.optim.AdamW, weights: Mapping[str, torch.Tensor], before: State
) -> None:
    """Give an optimizer the moments that `moments` has returned; none where they are of other weights."""
    known = {name: {part: before.get(f"{part}/{name}") for part in _PARTS} for name in weights}
    if not all(_fits(known[name], weight) for name, weight in weights.items()):
        return
    for name, weight in weights.items():
        optimizer.state[weight] = {
            part: torch.tensor(each, device="cpu" if part == _STEP else weight.device)
            for part, each in known[name].items()
        }


def _fits(parts: Mapping[str, AnyArray | None], weight: torch.Tensor) -> bool:
    shapes = [None if each is None else each.shape for each in parts.values()]
    return shapes == [(), weight.shape, weight.shape]


def _gradient(model: LanguageModel, batches: list[Batch]) -> float:
    tokens = sum(int((batch.labels[:, 1:] != IGNORED).sum()) for batch in batches)
    total = 0.0
    for batch in batches:
        loss = token_losses(model, batch)[0].sum() / tokens
        loss.backward()
        total += loss.item()
    return total


@contextmanager
def _trainable(model: LanguageModel, parameters: list[torch.Tensor]) -> Iterator[None]:
    """Within it, the parameters ask for gradients and dropout is on."""
    model.network.train()
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        model.network.eval()
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
