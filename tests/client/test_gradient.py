"""The sketch that a client sends of its gradients, against gradients that autograd has found."""

import numpy as np
import pytest
import torch

from antiphon.client.adapter import adapted, factor_shapes
from antiphon.client.data.batches import batches
from antiphon.client.data.tokens import collate
from antiphon.client.exchanges.exchange import Asked, AtSite
from antiphon.client.exchanges.gradient import gradient, sketched
from antiphon.client.language_model import IGNORED, token_losses
from antiphon.client.spaces.core import core
from antiphon.core.config import validate
from antiphon.core.errors import ConfigError
from antiphon.core.types import Package
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.frames.sketch import kind_of


@pytest.fixture
def config(tiny_values):
    return validate(
        tiny_values
        | {"method": "fedsb", "frames": {"kind": "gradient", "batches": 2, "sketch_bits": 7}}
    )


@pytest.fixture
def space(config, model):
    return core(config=config, model=model)


def first_batches(model, client, config):
    """What the exchange takes of a client's data."""
    stream = batches(config.seed, len(client.train), config.training.per_device_train_batch_size)
    return [
        collate([client.train[index] for index in next(stream)], model.tokenizer.pad_token_id)
        for _ in range(2)
    ]


def dense_gradients(model, layers, parts):
    """The mean gradient of each adapted module's weight."""
    weights = {name: each.get_base_layer().weight for name, each in layers.items()}
    for weight in weights.values():
        weight.requires_grad_(True)
    for batch in parts:
        tokens = int((batch.labels[:, 1:] != IGNORED).sum())
        (token_losses(model, batch)[0].sum() / tokens / len(parts)).backward()
    found = {name: weight.grad.numpy().copy() for name, weight in weights.items()}
    for weight in weights.values():
        weight.requires_grad_(False)
        weight.grad = None
    return found


def sides_of(model, client, config):
    layers = adapted(model)
    sketch = frames_of(config).sketched(factor_shapes(layers, config.lora.r))
    return sketched(model, layers, sketch, first_batches(model, client, config)), sketch, layers


def test_the_sketch_is_of_the_gradient(config, space, model, client):
    """GΩ of each module, and ΣΨG of all that read alike, without ever holding G."""
    found, sketch, layers = sides_of(model, client, config)

    dense = dense_gradients(model, layers, first_batches(model, client, config))
    right = {name: np.zeros(shape) for name, shape in sketch.right.items()}
    for module, each in dense.items():
        np.testing.assert_allclose(
            found.left[module], each @ sketch.columns(module), rtol=1e-3, atol=1e-5
        )
        right[kind_of(module, sketch.sides[module])] += sketch.combinations(module) @ each
    for name, each in right.items():
        np.testing.assert_allclose(found.right[name], each, rtol=1e-3, atol=1e-4)


def test_it_is_taken_at_the_base_model(config, space, model, client):
    """What another client's training has left in the adapter says nothing of this one's data."""
    fresh, _, _ = sides_of(model, client, config)
    moved = {name: np.ones(tuple(each.weight.shape)) for name, each in space.linears.items()}
    space.load(Package("core", {name: each.astype(np.float32) for name, each in moved.items()}))

    again, _, _ = sides_of(model, client, config)

    assert all(np.array_equal(fresh.left[name], again.left[name]) for name in fresh.left)


def test_it_leaves_the_model_as_it_was(config, space, model, client):
    """No gradient, no hook, and the adapter speaks again."""
    before = [(layer.scaling.copy(), id(layer)) for layer in adapted(model).values()]

    sides_of(model, client, config)

    assert [(layer.scaling, id(layer)) for layer in adapted(model).values()] == before
    assert all(each.grad is None for each in model.network.parameters())
    assert not any(each.requires_grad for each in model.network.parameters())
    assert not model.network.get_input_embeddings()._forward_hooks


def test_the_answer_is_what_the_coordinator_reads(config, space, model, client):
    """Two arrays of bytes, of both sides of the sketch."""
    half = gradient(config=config, model=model)

    answer = half(Asked(1, "gradient", client.name, {}, {}, client, AtSite("run")))

    assert {name: each.dtype for name, each in answer.arrays.items()} == {
        "left": np.uint8,
        "right": np.uint8,
    }
    assert answer.kept == {}


def test_frames_that_are_found_in_no_exchange_are_refused(tiny_values, model):
    """The coordinator asks for an exchange that is not of this run."""
    seeded = validate(tiny_values | {"method": "fedsb"})

    with pytest.raises(ConfigError, match="no exchange"):
        gradient(config=seeded, model=model)


def test_a_point_stands_on_its_frames(config, space, model):
    """Other frames, another adapter: the same R moves other directions."""
    point = {
        name: np.eye(*each.weight.shape, dtype=np.float32) for name, each in space.linears.items()
    }
    ids = torch.arange(5, 15)[None]
    space.load(Package("core", point))
    seeded = model.network(ids).logits

    frames = frames_of(config)
    sides = frames.sketched(factor_shapes(adapted(model), config.lora.r))
    assert sides.left
    space.load(Package("core", point, _some(frames, sides)))

    assert not torch.allclose(model.network(ids).logits, seeded)


def _some(frames, sketch):
    """Frames as they travel, of noise."""
    from antiphon.core.space import SpaceShapes
    from antiphon.strategies.exchanges.exchange import SoFar
    from antiphon.strategies.frames.gradient import Sides

    rng = np.random.default_rng(1)
    left, right = (
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in side.items()}
        for side in (sketch.left, sketch.right)
    )
    factors = {
        f"{module}.lora_{factor}.weight": (sketch.r, d_in) if factor == "A" else (d_out, sketch.r)
        for module, (d_out, d_in) in sketch.sides.items()
        for factor in "AB"
    }
    so_far = SoFar(1, ("north",), shapes=SpaceShapes(factors, {}, "base", 1))
    return frames.exchange.combine(so_far, {"north": frames.pack(Sides(left, right))})
