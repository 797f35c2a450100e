"""What all installed bases have in common, with a small model held by each."""

import pytest
import torch
from tests.strategies.members.installed import CONFIG, cases

from antiphon.client.adapter import adapter_in
from antiphon.client.bases.base import chosen
from antiphon.client.data.clients import encode_client
from antiphon.client.data.local import load_local
from antiphon.client.data.tokens import collate
from antiphon.client.language_model import load, token_losses
from antiphon.core import registry
from antiphon.core.section import Choice
from antiphon.strategies.bases.base import Need
from antiphon.strategies.initial_factors import initial_factors

DEVICES = {"cpu", "cuda", "mps"}
CPU = torch.device("cpu")
STEP = 1e-5  # of a weight, relatively: what zeroth-order training moves it by


@pytest.fixture(scope="module", params=cases("base"), ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module", params=cases("base"), ids=str)
def base(request):
    return request.param.build()


def held(case):
    """The small model as a base holds it on a CPU."""
    devices = case.build().devices
    if devices is not None and "cpu" not in devices:
        pytest.skip("it cannot be held on a CPU")
    return load("tiny", "cpu", Choice(kind=case.name, **case.arguments))


def batch_for(model):
    local = load_local("meadow", CONFIG.data, CONFIG.seed)
    data = encode_client(model.tokenizer, local.examples, CONFIG.model.max_length)
    return collate(data.train[:8], model.tokenizer.pad_token_id)


def test_a_base_has_a_half_at_the_client(case):
    """Where a coordinator knows what can be done with it, a client can hold it."""
    half = registry.build(registry.HALVES["base"], case.name, case.arguments)

    assert callable(half.load)
    assert isinstance(half.gains(CPU), bool)


def test_it_says_what_it_is_for(base):
    """It takes memory, and something can be trained on it, on devices that there are."""
    assert base.bytes_per_parameter > 0
    assert base.gives & {Need.GRADIENTS, Need.DRAWS}
    assert base.devices is None or base.devices <= DEVICES


def test_a_model_takes_the_memory_that_is_said(case):
    """Plans and estimates count with it."""
    network = held(case).network

    tensors = [*network.parameters(), *network.buffers()]
    size = sum(each.nbytes for each in tensors)
    assert size == pytest.approx(
        case.build().bytes_per_parameter * sum(each.numel() for each in tensors), rel=0.1
    )


@torch.no_grad()
def test_it_is_the_same_model(case):
    """Its loss is that of the whole weights, within five per cent: unlike bases train together."""
    model, whole = held(case), load("tiny", "cpu", wanted=frozenset(Need))

    ours, theirs = (float(token_losses(each, batch_for(each))[0].mean()) for each in (model, whole))

    assert ours == pytest.approx(theirs, rel=0.05)


@torch.no_grad()
def test_losses_are_exact_where_it_says_so(case):
    """A zeroth-order step looks at the fourth digit."""
    if Need.LOSSES not in case.build().gives:
        return
    model, whole = held(case), load("tiny", "cpu", wanted=frozenset(Need))

    ours, theirs = (float(token_losses(each, batch_for(each))[0].mean()) for each in (model, whole))

    assert ours == pytest.approx(theirs, rel=1e-5)


def test_gradients_reach_an_adapter_where_it_says_so(case):
    """They are finite, and not all zero; the base itself gets none."""
    if Need.GRADIENTS not in case.build().gives:
        return
    model = held(case)
    adapter = adapter_in(model, CONFIG)
    shapes = {name: tuple(each.weight.shape) for name, each in adapter.linears.items()}
    adapter.write(initial_factors(shapes, 1), 1.0)
    second = [each.weight for name, each in adapter.linears.items() if ".lora_B." in name]
    for weight in second:
        weight.requires_grad_(True)

    token_losses(model, batch_for(model))[0].mean().backward()

    assert all(torch.isfinite(each.grad).all() for each in second)
    assert any(each.grad.abs().sum() > 0 for each in second)
    assert [n for n, p in model.network.named_parameters() if p.requires_grad] == [
        n for n, p in model.network.named_parameters() if ".lora_B." in n
    ]


@torch.no_grad()
def test_weights_keep_small_steps_where_it_says_so(case):
    """Most weights of a linear layer differ after a step of a hundred thousandth of them."""
    if Need.WEIGHTS not in case.build().gives:
        return
    weight = next(p for n, p in held(case).network.named_parameters() if "q_proj" in n)
    before = weight.clone()

    weight.add_(STEP * weight)

    assert (weight != before).float().mean() > 0.99


def test_it_is_chosen_alone_only_where_it_gives_what_is_wanted(base):
    """Whatever a machine finds by itself, the run's parts can work on it."""
    found, _ = chosen(Choice(kind="auto"), CPU, base.gives)

    assert not found.lacks(base.gives)
