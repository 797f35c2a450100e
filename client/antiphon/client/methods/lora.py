"""Method `lora` at the client: AdamW on the factors, the update is local − start."""

from __future__ import annotations

import torch

from antiphon.client.adapter import Adapter
from antiphon.client.batch_losses import loss_metrics
from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.client.first_order import GradientTraining, train
from antiphon.client.language_model import LanguageModel
from antiphon.client.methods.batches import local_batches
from antiphon.client.methods.method import Download, OnStep
from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import UpdateError
from antiphon.core.run_sections import TrainingConfig
from antiphon.core.types import Assignment, LoraUpdate, Params, Update
from antiphon.strategies.learning_rate import rate


class LoraTraining:
    """See `method.ClientMethod`."""

    def __init__(
        self, model: LanguageModel, adapter: Adapter, lora_alpha: float, training: TrainingConfig
    ) -> None:
        """Train `adapter` inside `model`."""
        self._model, self._adapter = model, adapter
        self._alpha, self._training = lora_alpha, training

    def load(self, download: Download) -> None:
        """Put the global factors in place."""
        factors = _factors(download)
        self._adapter.write(factors, self._alpha / _rank(factors))

    def train(
        self,
        assignment: Assignment,
        download: Download,
        data: ClientData,
        on_step: OnStep,
        meter: Meter,
    ) -> Update:
        """Train from the downloaded factors."""
        self.load(download)
        torch.manual_seed(assignment.seed + assignment.round)  # dropout draws from it
        training = self._training
        batches = local_batches(
            self._model,
            data,
            assignment,
            training.per_device_train_batch_size,
            training.gradient_accumulation_steps,
        )
        losses = train(self._model, self._adapter, batches, self._plan(assignment), on_step, meter)
        return Update(
            client=assignment.client,
            round=assignment.round,
            examples=len(data.train),
            steps=meter.steps,
            payload=LoraUpdate(self._delta(_factors(download))),
            metrics={**loss_metrics(losses), **meter.metrics()},
        )

    def close(self) -> None:
        """Nothing is held."""

    def _plan(self, assignment: Assignment) -> GradientTraining:
        training = self._training
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

    def _delta(self, start: Params) -> Params:
        trained = self._adapter.read()
        return {
            name: trained[name][: start[name].shape[0], : start[name].shape[1]] - start[name]
            for name in start
        }


def _factors(download: Download) -> Params:
    if isinstance(download, SeedCoefficients):
        raise UpdateError("method lora was sent seed coefficients, expected LoRA factors")
    return download


def _rank(factors: Params) -> int:
    return int(next(value.shape[0] for name, value in factors.items() if ".lora_A." in name))
