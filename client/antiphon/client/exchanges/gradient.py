"""The client's half of exchange `gradient`: a sketch of its mean gradient at the base model.

A linear module's gradient is G = Σ δxᵀ over tokens, of what it reads (x) and what the loss asks of its
output (δ). Y = Σ δ(Ωᵀx)ᵀ and Z = Σ (Ψδ)xᵀ need neither G nor a gradient of any weight, so that the base
may be of any precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn

from antiphon.client.adapter import adapted, factor_shapes
from antiphon.client.data.batches import batches
from antiphon.client.data.clients import ClientData
from antiphon.client.data.tokens import Batch, collate
from antiphon.client.exchanges.exchange import Answer, Asked
from antiphon.client.language_model import IGNORED, LanguageModel, token_losses
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.core.types import FloatArray
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.frames.gradient import GradientFrames, Sides
from antiphon.strategies.frames.sketch import Sketch, kind_of


def gradient(*, config: RunConfig, model: LanguageModel) -> Callable[[Asked], Answer]:
    """Return the half, inside a base model. Raises ConfigError where the run's frames are others."""
    frames = frames_of(config)
    if not isinstance(frames, GradientFrames):
        raise ConfigError(f"the run's frames are {frames.kind}, which are found in no exchange")
    layers = adapted(model)
    sketch = frames.sketched(factor_shapes(layers, config.lora.r))

    def answer(asked: Asked) -> Answer:
        parts = _batches(model, asked.data, config, frames.batches)
        return Answer(frames.pack(sketched(model, layers, sketch, parts)))

    return answer


def sketched(
    model: LanguageModel, layers: Mapping[str, Any], sketch: Sketch, parts: Sequence[Batch]
) -> Sides:
    """Return the sketch of the mean gradient over some batches, at the base model itself.

    layers: PEFT's, by name; the adapters in them are silent meanwhile.
    """
    sums = _Sums(sketch, model.device)
    with _silent(layers.values()), _listening(model, layers, sums):
        for batch in parts:
            tokens = int((batch.labels[:, 1:] != IGNORED).sum())
            (token_losses(model, batch)[0].sum() / tokens / len(parts)).backward()
    return sums.sides()


class _Sums:
    """The two sketches, as they are summed up pass by pass."""

    def __init__(self, sketch: Sketch, device: torch.device) -> None:
        self._sketch, self._device = sketch, device
        self._left = {name: torch.zeros(side, device=device) for name, side in sketch.left.items()}
        self._right = {
            name: torch.zeros(side, device=device) for name, side in sketch.right.items()
        }

    def add(self, module: str, read: torch.Tensor, asked: torch.Tensor) -> None:
        """Add what one module has read, (…, d_in), and what the loss asks of its output, (…, d_out)."""
        x, g = read.detach().flatten(0, -2).float(), asked.flatten(0, -2).float()
        columns, combinations = (
            torch.from_numpy(each).to(self._device)
            for each in (self._sketch.columns(module), self._sketch.combinations(module))
        )
        self._left[module] += g.T @ (x @ columns)
        kind = kind_of(module, self._sketch.sides[module])
        self._right[kind] += (g @ combinations.T).T @ x

    def sides(self) -> Sides:
        """Return them as numpy arrays."""
        return Sides(_arrays(self._left), _arrays(self._right))


def _arrays(sums: Mapping[str, torch.Tensor]) -> dict[str, FloatArray]:
    return {name: each.cpu().numpy() for name, each in sums.items()}


def _batches(model: LanguageModel, data: ClientData, config: RunConfig, count: int) -> list[Batch]:
    """Return the client's first batches, in an order that follows from the run's seed."""
    size = config.training.per_device_train_batch_size
    chosen = islice(batches(config.seed, len(data.train), size), count)
    pad = model.tokenizer.pad_token_id
    return [
        collate([data.train[index] for index in indices], pad).to(model.device)
        for indices in chosen
    ]


@contextmanager
def _silent(layers: Iterable[Any]) -> Iterator[None]:
    """Within it, adapters add nothing to what their modules say."""
    scales = [(each.scaling, dict(each.scaling)) for each in layers]
    for scaling, before in scales:
        scaling.update(dict.fromkeys(before, 0.0))
    try:
        yield
    finally:
        for scaling, before in scales:
            scaling.update(before)


@contextmanager
def _listening(model: LanguageModel, layers: Mapping[str, Any], sums: _Sums) -> Iterator[None]:
    """Within it, every pass backwards goes through the whole network, and adds to the sums."""

    def begin(module: nn.Module, given: Any, said: torch.Tensor) -> torch.Tensor:
        return said.requires_grad_(True)

    def listen(name: str, module: nn.Module, given: Any, said: torch.Tensor) -> None:
        said.register_hook(lambda asked: sums.add(name, given[0], asked))

    hooks = [model.network.get_input_embeddings().register_forward_hook(begin)]
    for name, layer in layers.items():
        hooks.append(layer.get_base_layer().register_forward_hook(partial(listen, name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
