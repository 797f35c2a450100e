"""First-order training: accumulation, determinism and that it learns."""

import numpy as np
import pytest

from antiphon.client.adapter import Adapter
from antiphon.client.data.tokens import collate
from antiphon.client.trainers.adamw import GradientTraining, optimizer_of, train
from antiphon.strategies.initial_factors import initial_factors


@pytest.fixture
def adapter(model):
    adapter = Adapter(model, r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear")
    shapes = {name: tuple(linear.weight.shape) for name, linear in adapter.linears.items()}
    adapter.write(initial_factors(shapes, 1), 2.0)
    return adapter


def plan(steps, accumulation=1, rate=1e-2):
    return GradientTraining((rate,) * steps, accumulation, 0.0, (0.9, 0.999), 1e-8, 1.0)


def run(model, adapter, groups, training):
    batches = [collate(group, model.tokenizer.pad_token_id) for group in groups]
    factors = [linear.weight for linear in adapter.linears.values()]
    optimizer = optimizer_of(training, factors)
    losses = train(model, optimizer, batches, training, lambda done, loss: None)
    return sum(losses) / len(losses)


def test_accumulated_gradients_equal_a_large_batch(model, client, adapter):
    """Two passes of unequal token counts move as one pass over all of them does."""
    begin = adapter.read()
    whole = list(client.train[:8])
    run(model, adapter, [whole], plan(1))
    expected = adapter.read()

    adapter.write(begin, 2.0)
    run(model, adapter, [whole[:3], whole[3:]], plan(1, accumulation=2))

    moved = adapter.read()
    # AdamW's first step is a sign: where the gradient is all rounding, the sign may differ.
    close = [np.isclose(moved[n], expected[n], atol=1e-4).mean() for n in moved]
    assert min(close) > 0.99


def test_training_lowers_the_loss(model, client, adapter):
    """Thirty steps on forty examples fit them."""
    first = run(model, adapter, [list(client.train)], plan(1, rate=1e-9))

    last = run(model, adapter, [list(client.train)] * 30, plan(30))
    last = run(model, adapter, [list(client.train)], plan(1, rate=1e-9))

    assert last < 0.2 * first


def test_the_base_stays_frozen(model, client, adapter):
    """Only the factors change; nothing asks for gradients afterwards."""
    weights = {
        name: value.clone()
        for name, value in model.network.state_dict().items()
        if "lora_" not in name
    }

    run(model, adapter, [list(client.train[:8])] * 2, plan(2))

    state = model.network.state_dict()
    assert all((state[name] == value).all() for name, value in weights.items())
    assert not any(p.requires_grad for p in model.network.parameters())


def test_rank_padding_stays_zero(model, client, adapter):
    """Training a padded adapter moves the narrow part only."""
    narrow = {n: (v[:2] if "lora_A" in n else v[:, :2]) for n, v in adapter.read().items()}
    adapter.write(narrow, 4.0)

    run(model, adapter, [list(client.train[:8])] * 3, plan(3))

    for name, value in adapter.read().items():
        rest = value[2:] if "lora_A" in name else value[:, 2:]
        assert not rest.any()
