"""Method `mixed` at the client: the assignment says which half it does, on the same adapter."""

from __future__ import annotations

from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.client.methods.lora import LoraTraining
from antiphon.client.methods.method import Download, OnStep
from antiphon.client.methods.seeds import SeedsWalk
from antiphon.core.types import Assignment, Update


class MixedTraining:
    """See `method.ClientMethod`. Both halves start from the factors that were downloaded."""

    def __init__(self, lora: LoraTraining, walk: SeedsWalk) -> None:
        """lora: the first-order half; walk: the zeroth-order one, over the same factors."""
        self._lora, self._walk = lora, walk

    def load(self, download: Download) -> None:
        """Put the global factors in place."""
        self._lora.load(download)

    def train(
        self,
        assignment: Assignment,
        download: Download,
        data: ClientData,
        on_step: OnStep,
        meter: Meter,
    ) -> Update:
        """Train from the downloaded factors, as the assignment says."""
        if assignment.method == "lora":
            return self._lora.train(assignment, download, data, on_step, meter)
        self._lora.load(download)
        return self._walk.take(assignment, data, None, on_step, meter)

    def close(self) -> None:
        """Nothing is held."""
        self._lora.close()
