"""Trainer `adamw`: Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.bases.base import Need
from antiphon.strategies.trainers.trainer import Trainer


def adamw(*, config: RunConfig) -> Trainer:
    """First-order steps; its keys are those of `training`."""
    training = config.training
    return Trainer(
        kind="adamw",
        section="training",
        steps=training.max_steps,
        batch=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        learning_rate=lambda number: training.learning_rate,
        walks=False,
        needs=frozenset({Need.GRADIENTS}),
        reach=training.learning_rate * training.max_steps,
    )
