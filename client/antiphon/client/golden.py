"""torch's draws of the golden directions, on the device that is to train."""

from __future__ import annotations

import torch

from antiphon.client import directions
from antiphon.core import golden
from antiphon.core.types import FloatArray


class TorchDraws:
    """The torch backend on one device."""

    def __init__(self, device: torch.device) -> None:
        """Draw on `device`."""
        self._device = device

    def dense(self, kind: str, seed: int, start: int, count: int) -> FloatArray:
        """Return elements start … start+count of a dense direction."""
        drawn = directions.dense(kind, golden.KEY, seed, golden.NAME, start, count, self._device)
        values: FloatArray = drawn.cpu().numpy()
        return values

    def low_rank(self, seed: int) -> tuple[FloatArray, FloatArray]:
        """Return u (m, r) and v (n, r)."""
        streams = directions.LowRankStreams(
            {golden.NAME: golden.SHAPE}, golden.RANK, golden.KEY, self._device
        )
        u, v = streams.draw(seed)[golden.NAME]
        return u.cpu().numpy(), v.cpu().numpy()
