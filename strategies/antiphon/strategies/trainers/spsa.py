"""Trainer `spsa`: two-sided differences along seeded directions (Spall, IEEE TAC 1992)."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.bases.base import Need
from antiphon.strategies.learning_rate import rate
from antiphon.strategies.trainers.trainer import Trainer


def spsa(*, config: RunConfig) -> Trainer:
    """Zeroth-order steps, forward passes only; its keys are those of `seeds`."""
    seeds = config.seeds
    return Trainer(
        kind="spsa",
        section="seeds",
        steps=seeds.max_steps,
        batch=seeds.per_device_train_batch_size,
        accumulation=1,
        learning_rate=lambda number: rate(
            seeds.lr_scheduler_type, seeds.learning_rate, number - 1, config.rounds
        ),
        walks=True,
        needs=frozenset({Need.DRAWS}),
        reach=seeds.max_scalar,
        # The two losses of a step differ in the fourth digit.
        likes=frozenset({Need.LOSSES}),
    )
