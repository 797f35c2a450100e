"""What a run trains in its base model, as clients and coordinator say it: shapes, and no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, int]


@dataclass(frozen=True)
class SpaceShapes:
    """The space of a run.

    factors: shape of each of the adapter's factors, by PEFT's names (empty where the seeds move the
    weights); weights: shape of each linear weight that the seeds move, by module (empty otherwise);
    base_model: what an adapter's user gives to transformers, a folder or a hub id; model_parameters: of
    that model; model_digest: hex SHA-256 over its weights, empty where nobody has to agree on it.
    """

    factors: Mapping[str, Shape]
    weights: Mapping[str, Shape]
    base_model: str
    model_parameters: int
    model_digest: str = ""
