"""A surrogate for a model: every client follows the gradient of a quadratic of its own.

For questions about rounds, cohorts, codecs, policies and fleets, of which a model is the slow part. The
run's space, bytes, times and folds are the real ones; what clients minimise is, over the d numbers x that
the run trains,

    f_k(x) = ½ Σ_i λ_i (x_i − x*_{k,i})² / Σ_i λ_i,      x*_k = x* + unlike · z_k

with λ_i = condition^(−u_i), u_i even on [0, 1], and x*, z_k standard normal: all drawn from the run's
seed and the client's name. The untouched model is at x = 0, where the mean loss is about
½ (1 + unlike²), and no model is below ½ unlike². A step is x ← x − η (λ (x − x*_k) + noise · n), n standard
normal. As n adds up linearly, its sum over a round is drawn once, with the variance that the steps leave:
v ← (1 − ηλ)² v + η² noise².
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from antiphon.client.batch_losses import loss_metrics
from antiphon.client.data.clients import ClientData, ClientExamples
from antiphon.client.data.examples import Example
from antiphon.client.data.tokens import Encoded
from antiphon.client.evaluation import HeldOutScores
from antiphon.client.exchanges.exchange import AtSite, Kept, answered, half
from antiphon.client.forms.form import Form
from antiphon.client.secure.masking import MaskingPlace, masking_of
from antiphon.client.spaces.space import Space
from antiphon.client.trainers.trainer import OnStep, TrainerResult
from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.events import TRAINING
from antiphon.core.run_sections import SurrogateConfig, TrainingConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Assignment, FloatArray, Package, Params, Plain, Update
from antiphon.strategies.learning_rate import rate
from antiphon.strategies.methods.method import Method, method_of

_EXAMPLE = Encoded([0] * 32, [True] * 32, 0)
"""What stands for each of a client's examples: as many tokens as a short sentence."""


class Surrogate:
    """See workforce.Workforce: clients without a model."""

    def __init__(self, config: RunConfig, shapes: SpaceShapes) -> None:
        """shapes: of the model that it stands for. Raises ConfigError for runs that need a real one."""
        self._objective = checked_surrogate(config)
        self._training, self._seed, self._config = config.training, config.seed, config
        self._masking = masking_of(config)
        method = method_of(config)
        self._forms: dict[str, Form] = {
            each.name: registry.build(
                registry.HALVES["form"], each.form.kind, {}, {"config": config}
            )
            for each in method.roles
        }
        numbers = method.space.numbers(shapes)
        self._places = _places(numbers)
        size = sum(rows * columns for rows, columns in numbers.values())
        exponents = self._rng("curvature").random(size, dtype=np.float32)
        self._curvature = np.float32(self._objective.condition) ** -exponents
        self._optimum = self._rng("optimum").standard_normal(size, dtype=np.float32)
        self._scale = 1 / float(self._curvature.sum(dtype=np.float64))
        self._global = np.zeros(size, np.float32)

    @property
    def facts(self) -> dict[str, Plain]:
        """What the run's description says of it."""
        return {"device": "none", "objective": "surrogate"}

    def encoded(self, client: ClientExamples) -> ClientData:
        """Return a client's examples as they are trained on: each is like all others."""
        return stood_for(client)

    def advice(self, clients: Iterable[ClientData]) -> tuple[str, ...]:
        """Return nothing: nobody wrote the data."""
        return ()

    def write_tokenizer(self, folder: Path) -> None:
        """Write nothing: there is no text."""

    def train(
        self,
        assignment: Assignment,
        download: Package,
        data: ClientData,
        on_step: OnStep,
        keep: Path,
        place: MaskingPlace | None = None,
    ) -> Update:
        """Take the assignment's steps of the run's schedule; see the file's head."""
        with np.errstate(over="ignore", invalid="ignore"):  # it is said below
            moved, losses = self._moved(assignment, self._flat(download), data.name, on_step)
        if not np.isfinite(moved).all():
            raise UpdateError(
                f"client {data.name}: its steps have diverged: lower the learning rate"
            )
        update = Update(
            client=assignment.client,
            round=assignment.round,
            examples=len(data.train),
            steps=assignment.steps,
            payload=self._packaged(moved, assignment),
            metrics=loss_metrics(losses),
        )
        if self._masking is None or place is None:
            return update
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
        """Answer an exchange that needs no model. Raises UpdateError for others: there is none here."""
        answers = half(exchange, self._config, {})
        return answered(
            answers,
            number=number,
            exchange=exchange,
            message=message,
            kept=kept,
            data=data,
            site=site,
        )

    def load(self, download: Package) -> None:
        """Take a global model that is to be measured."""
        self._global = self._flat(download)

    def evaluate(self, data: ClientData) -> HeldOutScores:
        """Return f_k of the model that was loaded last."""
        loss = self._loss(self._global - self._of(data.name))
        return HeldOutScores(len(data.train), loss, math.exp(min(loss, 700.0)), None, None)

    def close(self) -> None:
        """Give back nothing: all is memory."""

    def _moved(
        self, assignment: Assignment, start: FloatArray, client: str, on_step: OnStep
    ) -> tuple[FloatArray, list[float]]:
        away, spread = start - self._of(client), np.zeros_like(start)
        losses = []
        for done, eta in enumerate(_rates(self._training, assignment), 1):
            losses.append(self._loss(away))
            on_step(done, losses[-1])
            kept = 1 - np.float32(eta) * self._curvature
            away *= kept
            spread = kept * kept * spread + np.float32((eta * self._objective.noise) ** 2)
        noise = self._rng(client, assignment.round).standard_normal(len(start), dtype=np.float32)
        away += np.sqrt(spread) * noise
        moved: FloatArray = away + (self._of(client) - start)
        return moved, losses

    def _of(self, client: str) -> FloatArray:
        drawn = self._rng(client).standard_normal(len(self._optimum), dtype=np.float32)
        own: FloatArray = self._optimum + np.float32(self._objective.unlike) * drawn
        return own

    def _loss(self, away: FloatArray) -> float:
        return 0.5 * self._scale * float(np.dot(self._curvature * away, away))

    def _flat(self, model: Package) -> FloatArray:
        joined: FloatArray = np.concatenate(
            [np.asarray(model.arrays[name], np.float32).ravel() for name in self._places]
        )
        return joined

    def _shaped(self, flat: FloatArray) -> Params:
        return {
            name: flat[place.begin : place.end].reshape(place.shape)
            for name, place in self._places.items()
        }

    def _packaged(self, moved: FloatArray, assignment: Assignment) -> Package:
        space = cast(Space, _Moved(self._shaped(moved)))
        return self._forms[assignment.method].package(space, TrainerResult(()), assignment)

    def _rng(self, who: str, number: int = 0) -> np.random.Generator:
        digest = hashlib.sha256(f"{self._seed}/surrogate/{who}".encode(errors="surrogatepass"))
        key = int.from_bytes(digest.digest()[:8], "little")
        return np.random.Generator(np.random.Philox(key=[key, number]))


@dataclass(frozen=True)
class _Moved:
    """What a form asks of a space."""

    moved: Params

    def delta(self) -> Params:
        """Return how far the numbers are from their start."""
        return self.moved


@dataclass(frozen=True)
class _Place:
    """Where a tensor's numbers stand among all."""

    begin: int
    end: int
    shape: Shape


def invented(names: Iterable[str], examples: int) -> tuple[ClientExamples, ...]:
    """Return clients that hold so many examples each, and no text."""
    nothing = Example(prompt="", completion="")
    return tuple(ClientExamples(name, (nothing,) * examples, ()) for name in names)


def stood_for(client: ClientExamples) -> ClientData:
    """Return a client's examples as a surrogate has them: each is like all others."""
    return ClientData(client.name, (_EXAMPLE,) * len(client.train), ())


def checked_surrogate(config: RunConfig) -> SurrogateConfig:
    """Return what a run's config says of it. Raises ConfigError for runs that need a model."""
    chosen = config.engine.surrogate
    if chosen is None:
        raise ConfigError("engine.surrogate is not given: give it, or train a model")
    if reason := _reason_against(config, method_of(config)):
        raise ConfigError(f"engine.surrogate: {reason}, or leave it out to train a model")
    return chosen


def _reason_against(config: RunConfig, method: Method) -> str | None:
    other = next((each for each in method.roles if not each.trainer.backward), None)
    # Those of secure sums need none.
    listed = (*filter(None, (method.space.frames.exchange,)), *method.exchanges)
    asked = next((each.name for each in listed if each.name != TRAINING), None)
    if config.engine.kind != "simulation":
        return f"engine {config.engine.kind} trains a model: choose engine.kind: simulation"
    if other is not None:
        return (
            f"trainer {other.trainer.kind} looks at losses along directions of a model's weights, and a "
            "surrogate's clients follow its gradient: choose a trainer of gradients"
        )
    if asked is not None:
        return f"the exchange {asked!r} asks for what only a model has: choose frames and a method without"
    if method.space.leaves_out or not method.space.as_tensors:
        return f"the numbers of space {method.space.kind} do not add: choose one in which they do"
    return None


def _places(numbers: Mapping[str, Shape]) -> dict[str, _Place]:
    places, begin = {}, 0
    for name in sorted(numbers):
        rows, columns = numbers[name]
        places[name] = _Place(begin, begin + rows * columns, (rows, columns))
        begin += rows * columns
    return places


def _rates(training: TrainingConfig, assignment: Assignment) -> Iterable[float]:
    for step in range(assignment.first_step, assignment.first_step + assignment.steps):
        yield rate(
            training.lr_scheduler_type,
            training.learning_rate,
            step,
            assignment.total_steps,
            training.warmup_steps,
        )
