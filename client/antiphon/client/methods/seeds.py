"""Method `seeds` at the client: probe along candidate directions, the update is (index, scalar) pairs."""

from __future__ import annotations

from collections.abc import Mapping
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from torch import nn

from antiphon.client.batch_losses import loss_metrics
from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.client.language_model import LanguageModel
from antiphon.client.methods.batches import local_batches
from antiphon.client.methods.method import Download, OnStep
from antiphon.client.zeroth_order.dense import DenseProbe
from antiphon.client.zeroth_order.lowrank import LowRankProbe
from antiphon.client.zeroth_order.probe import Probe
from antiphon.client.zeroth_order.rebuild import WeightsFile, add_directions
from antiphon.client.zeroth_order.training import SeedTraining, train
from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import UpdateError
from antiphon.core.run_sections import SeedsConfig
from antiphon.core.types import Assignment, Update


class SeedsWalk:
    """Zeroth-order steps from wherever the weights are."""

    def __init__(
        self, model: LanguageModel, linears: Mapping[str, nn.Linear], seeds: SeedsConfig, key: int
    ) -> None:
        """Move the weights of `linears` inside `model`; key: of the run's directions."""
        self._model, self._linears, self._seeds, self._key = model, dict(linears), seeds, key

    def take(
        self,
        assignment: Assignment,
        data: ClientData,
        probabilities: npt.NDArray[np.float64] | None,
        on_step: OnStep,
        meter: Meter,
    ) -> Update:
        """Take the assignment's steps. probabilities: of drawing each seed, float64 (K,); none: alike."""
        plan = SeedTraining(
            num_seeds=self._seeds.num_seeds,
            epsilon=self._seeds.epsilon,
            learning_rate=assignment.learning_rate,
            max_scalar=self._seeds.max_scalar,
            probabilities=probabilities,
        )
        size = self._seeds.per_device_train_batch_size
        batches = local_batches(self._model, data, assignment, size)
        rng = np.random.Generator(np.random.Philox(key=[assignment.seed, assignment.round]))
        probe = self._probe()
        try:
            trained = train(self._model, probe, batches, plan, rng, on_step, meter)
        finally:
            probe.close()
        return Update(
            client=assignment.client,
            round=assignment.round,
            examples=len(data.train),
            steps=meter.steps,
            payload=trained.scalars,
            metrics={**loss_metrics(trained.losses), **meter.metrics()},
        )

    def _probe(self) -> Probe:
        directions = self._seeds.directions
        if directions.kind == "lowrank":
            return LowRankProbe(self._linears, rank=directions.rank, key=self._key)
        return DenseProbe(self._linears, kind=directions.kind, key=self._key)


class SeedsTraining:
    """See `method.ClientMethod`.

    Memory holds the weights once. The base and the round's global weights wait in files, so that every
    client of a process starts from the same bits without a second copy in memory.
    """

    def __init__(
        self, model: LanguageModel, linears: Mapping[str, nn.Linear], seeds: SeedsConfig, key: int
    ) -> None:
        """Move the weights of `linears`, which now hold the base, along the run's directions."""
        self._linears, self._seeds, self._key = dict(linears), seeds, key
        self._walk = SeedsWalk(model, linears, seeds, key)
        self._folder = TemporaryDirectory(prefix="antiphon-weights-")
        self._base = WeightsFile(f"{self._folder.name}/base", self._linears)
        self._global = WeightsFile(f"{self._folder.name}/global", self._linears)
        self._loaded = np.zeros(seeds.num_seeds, dtype=np.float32)
        self._moved = False

    def load(self, download: Download) -> None:
        """Put w₀ + Σ C_k z_k in place; where those are the weights of the last call, restore them."""
        sent = _coefficients(download)
        if sent.num_seeds != self._seeds.num_seeds:
            raise UpdateError(
                f"the model has {sent.num_seeds} seeds, the run's config {self._seeds.num_seeds}"
            )
        coefficients = sent.dense()
        if not np.array_equal(coefficients, self._loaded):
            self._base.restore()
            directions = self._seeds.directions
            add_directions(
                self._linears,
                coefficients.astype(np.float64),
                kind=directions.kind,
                rank=directions.rank,
                key=self._key,
            )
            self._global.write()
            self._loaded = coefficients
        elif self._moved:
            self._global.restore()
        self._moved = False

    def train(
        self,
        assignment: Assignment,
        download: Download,
        data: ClientData,
        on_step: OnStep,
        meter: Meter,
    ) -> Update:
        """Take the assignment's steps from the downloaded model."""
        self.load(download)
        self._moved = True
        return self._walk.take(assignment, data, _probabilities(download), on_step, meter)

    def close(self) -> None:
        """Remove the files of weights."""
        self._folder.cleanup()


def _coefficients(download: Download) -> SeedCoefficients:
    if not isinstance(download, SeedCoefficients):
        raise UpdateError("method seeds was sent tensors, expected seed coefficients")
    return download


def _probabilities(download: Download) -> npt.NDArray[np.float64] | None:
    sent = _coefficients(download).probabilities
    if sent is None:
        return None
    # float32 on the wire; numpy wants a sum of 1 to float64's precision.
    wide: npt.NDArray[np.float64] = sent.astype(np.float64)
    return wide / wide.sum()
