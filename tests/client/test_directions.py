"""torch draws the same bits as numpy."""

import numpy as np
import pytest
import torch

from antiphon.client import directions
from antiphon.client.golden import TorchDraws
from antiphon.core import directions as reference
from antiphon.core import golden

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


def test_golden_vectors(device):
    """Every device of this machine draws the directions that the federation expects."""
    golden.check(TorchDraws(device), str(device))


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_dense_directions_equal_numpys(device, kind):
    """A slice of a dense direction is bit for bit the reference's."""
    expected = getattr(reference, kind)(11, 4095, "layer.w", 77, 40_000)

    drawn = directions.dense(kind, 11, 4095, "layer.w", 77, 40_000, device)

    assert (drawn.cpu().numpy() == expected).all()


def test_many_seeds_at_once_equal_one_by_one(device):
    """Rebuilding draws, for many seeds in one call, what each step drew for its own."""
    streams = directions.LowRankStreams({"a": (40, 30), "b": (7, 9)}, 2, 5, device)

    u, v = directions.low_rank_of_seeds(5, torch.tensor([3, 8], device=device), "b", (7, 9), 2)

    one_u, one_v = streams.draw(8)["b"]
    assert torch.equal(u[:, 2:], one_u)
    assert torch.equal(v[:, 2:], one_v)


def test_low_rank_streams_equal_numpys(device):
    """The batched generator draws each matrix's own stream."""
    u, v = reference.low_rank(5, np.array([6]), "a", (130, 70), 3)

    drawn = directions.LowRankStreams({"x": (9, 9), "a": (130, 70)}, 3, 5, device).draw(6)["a"]

    assert (drawn[0].cpu().numpy() == u[0]).all()
    assert (drawn[1].cpu().numpy() == v[0]).all()
