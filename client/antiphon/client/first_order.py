"""Local training by gradients: AdamW on the LoRA factors.

The loss is the mean over the completion tokens of the whole accumulated batch, so accumulation gives the
gradient of the large batch even where its parts hold unequal numbers of tokens. The optimizer is fresh
in every round: its moments belong to weights that the federation has moved since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch

from antiphon.client.adapter import Adapter
from antiphon.client.budget import Meter
from antiphon.client.data.tokens import Batch
from antiphon.client.language_model import IGNORED, LanguageModel, token_losses

OnStep = Callable[[int, float], None]
"""Called after each step with (steps done, loss of the batch in nats per token)."""


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
    adapter: Adapter,
    batches: Iterable[Batch],
    plan: GradientTraining,
    on_step: OnStep,
    meter: Meter | None = None,
) -> tuple[float, ...]:
    """Train the factors in place, one optimizer step per rate; return the loss of each step.

    meter: counts the steps, and ends them early where its budget is used up.
    """
    meter = meter or Meter()
    parameters = adapter.parameters()
    optimizer = torch.optim.AdamW(
        parameters, betas=plan.betas, eps=plan.adam_epsilon, weight_decay=plan.weight_decay
    )
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
