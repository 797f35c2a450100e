"""Zeroth-order probing and training against the arithmetic written out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from antiphon.client import directions
from antiphon.client.trainers.spsa import clipped, projected_gradient
from antiphon.client.zeroth_order.dense import DenseProbe
from antiphon.client.zeroth_order.lowrank import LowRankProbe
from antiphon.client.zeroth_order.rebuild import WeightsFile, add_directions
from antiphon.core import directions as reference

KEY = 99
KINDS = ["lowrank", "rademacher", "gaussian"]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 10, bias=False))


@pytest.fixture
def linears(net):
    return {"first": net[0], "last": net[2]}


def make_probe(linears, kind, rank=2):
    if kind == "lowrank":
        return LowRankProbe(linears, rank=rank, key=KEY, waiting_moves=4)
    return DenseProbe(linears, kind=kind, key=KEY)


def direction(kind, name, shape, seed, rank=2):
    if kind == "lowrank":
        u, v = reference.low_rank(KEY, np.array([seed]), name, shape, rank)
        return torch.from_numpy(u[0] @ v[0].T / np.float32(rank**0.5))
    draw = getattr(reference, kind)
    return torch.from_numpy(draw(KEY, seed, name, 0, shape[0] * shape[1])).view(shape)


def shifted(net, linears, kind, moves):
    """The network's output with Σ c·z(seed) really added to its weights."""
    kept = {name: linear.weight.detach().clone() for name, linear in linears.items()}
    with torch.no_grad():
        for name, linear in linears.items():
            for seed, coefficient in moves:
                linear.weight += coefficient * direction(
                    kind, name, tuple(linear.weight.shape), seed
                )

    def output(x):
        y = net(x).detach()
        for name, linear in linears.items():
            linear.weight.data = kept[name]
        return y

    return output


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_equal_edited_weights(net, linears, kind):
    """A stacked pass gives, in its halves, what w + εz and w − εz give."""
    x = torch.randn(3, 5, 24)
    above = shifted(net, linears, kind, [(7, 0.1)])(x)
    below = shifted(net, linears, kind, [(7, -0.1)])(x)

    probe = make_probe(linears, kind)
    with torch.no_grad(), probe.two_sided(7, 0.1):
        both = net(torch.cat([x, x]))
    probe.close()

    assert torch.allclose(both, torch.cat([above, below]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_moves_equal_edited_weights(net, linears, kind):
    """After moves that wait and moves that were folded in, outputs are those of the moved weights."""
    x = torch.randn(4, 24)
    moves = [(seed, 0.01 * (seed + 1)) for seed in range(6)]
    expected = shifted(net, linears, kind, moves)(x)

    probe = make_probe(linears, kind)
    for seed, coefficient in moves:
        probe.move(seed, coefficient)
    with torch.no_grad():
        moved = net(x)
    probe.close()

    assert torch.allclose(moved, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clients_trajectory_equals_the_servers_rebuild(net, linears, kind):
    """w after local steps and w₀ + Σ C_k z_k agree to 1e-6 in float32."""
    start = {name: linear.weight.detach().clone() for name, linear in linears.items()}
    steps = [(3, 0.02), (5, -0.01), (3, 0.005), (9, 0.03), (1, -0.02)]
    probe = make_probe(linears, kind)
    for seed, coefficient in steps:
        probe.move(seed, coefficient)
    probe.settle()
    probe.close()
    local = {name: linear.weight.detach().clone() for name, linear in linears.items()}

    coefficients = np.zeros(16)
    for seed, coefficient in steps:
        coefficients[seed] += coefficient
    for name, linear in linears.items():
        linear.weight.data = start[name]
    add_directions(linears, coefficients, kind=kind, rank=2, key=KEY)

    for name, linear in linears.items():
        assert torch.allclose(linear.weight, local[name], atol=1e-6)


def test_a_low_rank_probe_leaves_the_weights_alone(net, linears):
    """Looking on both sides edits nothing, bit for bit."""
    before = {name: linear.weight.detach().clone() for name, linear in linears.items()}

    probe = make_probe(linears, "lowrank")
    with torch.no_grad(), probe.two_sided(3, 0.1):
        net(torch.randn(2, 24))
    probe.close()

    assert all(torch.equal(linears[name].weight, before[name]) for name in linears)


@pytest.mark.parametrize("kind", KINDS)
def test_closing_gives_the_modules_back(net, linears, kind):
    """After close the network is the one it was."""
    x = torch.randn(2, 24)
    before = net(x)

    make_probe(linears, kind).close()

    assert torch.equal(net(x), before)
    assert "forward" not in vars(linears["first"])


def test_the_estimate_is_the_directional_derivative(net, linears):
    """(L(w+εz) − L(w−εz)) / 2ε approaches ⟨∇L, z⟩."""
    x = torch.randn(8, 24)
    net(x).square().mean().backward()
    exact = sum(
        float(
            (linear.weight.grad * direction("lowrank", name, tuple(linear.weight.shape), 4)).sum()
        )
        for name, linear in linears.items()
    )

    probe = make_probe(linears, "lowrank")
    with torch.no_grad(), probe.two_sided(4, 1e-3):
        above, below = net(torch.cat([x, x])).square().mean(dim=1).chunk(2)
    probe.close()

    estimate = projected_gradient(float(above.mean()), float(below.mean()), 1e-3, 1e3)
    assert float(estimate) == pytest.approx(exact, rel=0.02, abs=1e-3)


def test_a_loss_that_is_not_finite_gives_no_scalar():
    """NaN and infinity move nothing."""
    assert projected_gradient(float("nan"), 1.0, 1e-3, 1e3) is None
    assert projected_gradient(1.0, float("inf"), 1e-3, 1e3) is None


def test_scalars_are_clipped():
    """A huge difference gives the limit, with its sign."""
    assert projected_gradient(0.0, 5.0, 1e-3, 100.0) == np.float32(-100)


def test_an_unusual_scalar_is_clipped_at_medians_of_those_so_far():
    """Twice the median magnitude, with its own sign; a usual one is left as it is, bit for bit."""
    seen = [1.0, 2.0, 3.0, 0.5, 40.0]

    assert clipped(np.float32(-40.0), seen, 2.0) == np.float32(-4.0)
    assert clipped(np.float32(0.1), seen, 2.0) == np.float32(0.1)


def test_a_clip_does_not_shrink_by_itself():
    """Magnitudes count as they were before the clip: equal ones stay for ever, at a factor of one too."""
    seen = []
    sent = []
    for _ in range(20):
        seen.append(3.0)
        sent.append(clipped(np.float32(3.0), seen, 1.0))

    assert sent == [np.float32(3.0)] * 20


def test_the_first_scalar_of_a_round_has_nothing_to_be_held_against():
    """At one median and more it is sent as it is."""
    assert clipped(np.float32(7.5), [7.5], 1.0) == np.float32(7.5)


def test_weights_files_restore_every_bit(tmp_path, linears):
    """Remembered weights come back exactly, whatever happened since."""
    before = {name: linear.weight.detach().clone() for name, linear in linears.items()}
    file = WeightsFile(str(tmp_path / "weights"), linears)
    add_directions(linears, np.ones(3), kind="gaussian", rank=1, key=KEY)

    file.restore()

    assert all(torch.equal(linears[name].weight, before[name]) for name in linears)


def test_a_gpu_would_move_the_same_way():
    """The magnitude of a sign is exact: ±ε is ε's own bits with the sign bit set."""
    words = directions.words(KEY, 1, "w", 0, 4, torch.device("cpu"))

    z = directions.signs(words, 1e-3)

    assert set(z.tolist()) == {float(np.float32(1e-3)), -float(np.float32(1e-3))}


def test_low_rank_probing_needs_no_second_model(linears):
    """What a probe holds beside the weights is thin: below a tenth of a wide matrix."""
    wide = {"wide": nn.Linear(1000, 1000)}
    probe = LowRankProbe(wide, rank=1, key=KEY)

    held = sum(t.numel() for each in (probe._u, probe._v) for t in each.values())
    probe.close()

    assert held < 0.1 * wide["wide"].weight.numel()


def test_a_step_is_remembered_as_the_float_that_was_sent(tmp_path):
    """What the client moves by is the float32 on the wire, not the float64 before it."""
    scalar = projected_gradient(1.00000001, 1.0, 1e-3, 1e3)

    assert isinstance(scalar, np.float32)
    assert SimpleNamespace(value=scalar).value == np.float32(float(scalar))
