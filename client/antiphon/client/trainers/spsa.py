"""Trainer `spsa`: zeroth-order steps along seeded directions, FedKSeed's client (arXiv 2312.06353).

For each step: take the next seed k (core/seed_choice.py), look at the loss on both sides,
g = (L(w + εz_k) − L(w − εz_k)) / 2ε, move w ← w − lr·g·z_k, and remember (k, g). Those pairs are the whole
update.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.client.data.tokens import Batch
from antiphon.client.language_model import LanguageModel, token_losses
from antiphon.client.spaces.space import Space
from antiphon.client.trainers.local_batches import local_batches
from antiphon.client.trainers.trainer import OnStep, TrainerResult
from antiphon.client.zeroth_order.dense import DenseProbe
from antiphon.client.zeroth_order.lowrank import LowRankProbe
from antiphon.client.zeroth_order.probe import Probe
from antiphon.core.config import RunConfig
from antiphon.core.run_sections import SeedsConfig
from antiphon.core.seed_choice import drawn, given
from antiphon.core.types import Assignment, State
from antiphon.strategies.forms.walk import Walk
from antiphon.strategies.seed_space import Directions, directions_of


def spsa(*, config: RunConfig) -> SpsaTrainer:
    """Return the client's half of the trainer, as a run's config sets it."""
    return SpsaTrainer(config.seeds, directions_of(config))


@dataclass(frozen=True)
class SpsaTrainer:
    """See `trainer.Trainer`. seeds: what the run's config says of it; directions: of the run."""

    seeds: SeedsConfig
    directions: Directions

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
        """Take the assignment's steps at its learning rate."""
        plan = SeedTraining(
            seeds=self._given(assignment, space),
            epsilon=self.seeds.epsilon,
            learning_rate=assignment.learning_rate,
            max_scalar=self.seeds.max_scalar,
            clip=self.seeds.clip,
        )
        batches = local_batches(model, data, assignment, self.seeds.per_device_train_batch_size)
        probe = self._probe(space)
        try:
            trained = train(model, probe, batches, plan, on_step, meter)
            probe.settle()  # a form may ask for the delta of the weights
            return trained
        finally:
            probe.close()

    def _given(self, assignment: Assignment, space: Space) -> npt.NDArray[np.uint32]:
        key, num_seeds = self.directions.key, self.seeds.num_seeds
        if space.probabilities is None:
            return given(assignment, key, num_seeds)
        return drawn(assignment, key, num_seeds, space.probabilities)

    def _probe(self, space: Space) -> Probe:
        along = self.directions
        if along.kind == "lowrank":
            return LowRankProbe(space.linears, rank=along.rank, key=along.key)
        return DenseProbe(space.linears, kind=along.kind, key=along.key)


@dataclass(frozen=True)
class SeedTraining:
    """The constants of a client's round. seeds: of its steps, uint32 (steps,); clip: of scalars, in medians
    of their magnitudes so far.
    """

    seeds: npt.NDArray[np.uint32]
    epsilon: float
    learning_rate: float
    max_scalar: float
    clip: float | None = None


@torch.no_grad()
def train(
    model: LanguageModel,
    probe: Probe,
    batches: Iterable[Batch],
    plan: SeedTraining,
    on_step: OnStep,
    meter: Meter | None = None,
) -> TrainerResult:
    """Take one step per batch and seed.

    A step whose loss is not finite moves nothing and is not reported.

    meter: counts the steps, and ends them early where its budget is used up.
    """
    meter = meter or Meter()
    indices: list[int] = []
    values: list[np.float32] = []
    magnitudes: list[float] = []
    losses: list[float] = []
    steps = zip(meter.limit(batches), plan.seeds.tolist(), strict=False)
    for done, (batch, seed) in enumerate(steps, 1):
        above, below = two_sided_losses(model, probe, batch, seed, plan.epsilon)
        loss = (above + below) / 2
        scalar = projected_gradient(above, below, plan.epsilon, plan.max_scalar)
        if scalar is not None:
            magnitudes.append(abs(float(scalar)))
            if plan.clip is not None:
                scalar = clipped(scalar, magnitudes, plan.clip)
            # What is sent is float32, so the client moves by the float32 too: server and client agree.
            probe.move(seed, -plan.learning_rate * float(scalar))
            indices.append(seed)
            values.append(scalar)
            losses.append(loss)
        meter.step_taken(batch.tokens)
        on_step(done, loss)
    walk = Walk(np.array(indices, dtype=np.uint32), np.array(values, dtype=np.float32))
    return TrainerResult(tuple(losses), walk)


def two_sided_losses(
    model: LanguageModel, probe: Probe, batch: Batch, seed: int, epsilon: float
) -> tuple[float, float]:
    """Return L(w + εz) and L(w − εz), mean nats per label token, from one stacked forward pass."""
    with probe.two_sided(seed, epsilon):
        losses, _ = token_losses(model, batch.map(lambda tensor: tensor.repeat(2, 1)))
    above, below = losses.double().chunk(2)
    return float(above.mean()), float(below.mean())


def projected_gradient(
    above: float, below: float, epsilon: float, limit: float
) -> np.float32 | None:
    """Return g clipped to ±limit, or none where a loss is not finite."""
    if not (math.isfinite(above) and math.isfinite(below)):
        return None
    return np.float32(np.clip((above - below) / (2 * epsilon), -limit, limit))


def clipped(scalar: np.float32, magnitudes: Sequence[float], factor: float) -> np.float32:
    """Return g clipped to ± `factor` times the median of the magnitudes so far, before any clip.

    A step whose batch is unlike the others, or whose direction happens to lie along what all examples
    want alike, has a scalar many times the usual one, and one such step undoes many.
    """
    limit = np.float32(factor * float(np.median(magnitudes)))
    return np.float32(np.clip(scalar, -limit, limit))
