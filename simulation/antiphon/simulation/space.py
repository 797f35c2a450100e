"""The run's space, which a coordinator hears from its clients and a simulation reads from the model."""

from __future__ import annotations

from dataclasses import replace

from antiphon.client.assets.names import model_folder
from antiphon.client.model_digest import model_digest
from antiphon.client.shapes import trained_shapes
from antiphon.core.config import RunConfig
from antiphon.server.folding.space import Space


def space_for_clients(config: RunConfig) -> Space:
    """Return the space as each client of a run on a network reports it: the model by its name and digest.

    Raises ModelError where the model is not on this machine, or its target modules do not exist.
    """
    name = config.model.model_name_or_path
    return replace(space_of(config), base_model=name, model_digest=model_digest(name).hex())


def space_of(config: RunConfig) -> Space:
    """Return the space. Raises ModelError where the model or its target modules do not exist."""
    shapes = trained_shapes(config)
    base = str(model_folder(config.model.model_name_or_path))
    return Space(shapes.factors, shapes.weights, base, shapes.model_parameters)
