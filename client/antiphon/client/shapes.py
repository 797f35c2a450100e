"""What a config trains in its model, from the model's shapes alone: no weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from antiphon.client.adapter import target_linears
from antiphon.client.assets.names import model_folder
from antiphon.client.language_model import LanguageModel
from antiphon.client.model_digest import model_digest
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, ModelError, first_line
from antiphon.core.peft_folder import factor_name
from antiphon.core.space import Shape, SpaceShapes
from antiphon.strategies.bases.base import Base
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2

_NOTHING = Base("shapes alone", 0.0, frozenset())


def space_of(config: RunConfig) -> SpaceShapes:
    """Return the space; its base model is the folder on this machine.

    Raises ModelError where the model or its target modules do not exist.
    """
    name = config.model.model_name_or_path
    network = _network_of_shapes(name)
    model = LanguageModel(network, None, torch.device("meta"), _NOTHING, False, name)
    limit = getattr(network.config, "max_position_embeddings", None)
    if limit is not None and config.model.max_length > limit:
        raise ConfigError(
            f"model.max_length is {config.model.max_length}, but {name} reads at most {limit} tokens: "
            "lower it"
        )
    base = str(model_folder(name))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if method_of(config).space.trains_weights:
        linears = target_linears(model, config.seeds.target_modules)
        weights = {n: (each.out_features, each.in_features) for n, each in linears.items()}
        return SpaceShapes({}, weights, base, parameters)
    factors: dict[str, Shape] = {}
    for module, linear in target_linears(model, config.lora.target_modules).items():
        factors[factor_name(module, "A")] = (config.lora.r, linear.in_features)
        factors[factor_name(module, "B")] = (linear.out_features, config.lora.r)
    return SpaceShapes(factors, {}, base, parameters)


def space_for_clients(config: RunConfig) -> SpaceShapes:
    """Return the space as each client of a run on a network reports it: the model by its name and digest.

    Raises ModelError where the model is not on this machine, or its target modules do not exist.
    """
    name = config.model.model_name_or_path
    return replace(space_of(config), base_model=name, model_digest=model_digest(name).hex())


def space_report(space: SpaceShapes, digest: bytes) -> coordinator_pb2.SpaceReport:
    """Return what a client tells the coordinator of its space. digest: see model_digest.py."""
    return coordinator_pb2.SpaceReport(
        factors=_matrices(space.factors),
        weights=_matrices(space.weights),
        model_parameters=space.model_parameters,
        model_digest=digest,
    )


def _matrices(shapes: Mapping[str, Shape]) -> list[coordinator_pb2.MatrixShape]:
    return [
        coordinator_pb2.MatrixShape(name=name, rows=rows, columns=columns)
        for name, (rows, columns) in sorted(shapes.items())
    ]


def _network_of_shapes(name_or_path: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    source = model_folder(name_or_path)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(source, trust_remote_code=False), trust_remote_code=False
            )
    except Exception as error:  # transformers raises kinds of its own
        raise ModelError(
            f"cannot read the model {name_or_path!r}: {first_line(error)}. Give a hub id, a "
            "folder with config.json and safetensors, a GGUF file, or a name known to `antiphon fetch`"
        ) from error
