"""The rank of what a client trains: told by its name and by the form in which its delta travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.core.run_sections import LoraConfig
from antiphon.strategies.forms.form import Form


@dataclass(frozen=True)
class Ranks:
    """r: of the global adapter; smaller: of single clients, by name."""

    r: int
    smaller: Mapping[str, int] = field(default_factory=dict)

    def of(self, client: str, form: Form) -> int:
        """Return the rank of a client's start and delta; small arrays are of the whole adapter."""
        return self.smaller.get(client, self.r) if form.packs else self.r


def ranks_of(lora: LoraConfig) -> Ranks:
    """Return the ranks that a run's config gives."""
    return Ranks(lora.r, lora.client_ranks)
