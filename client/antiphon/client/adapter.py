"""The LoRA adapter inside the base model, and its factors as numpy tensors.

Names are PEFT's own ("base_model.model.<module>.lora_A.weight", (r, d_in)), so that what travels is what
`adapter_model.safetensors` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from antiphon.client.language_model import LanguageModel
from antiphon.core.config import RunConfig
from antiphon.core.errors import ModelError
from antiphon.core.space import Shape
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX

_ADAPTER = "default"
_PEFT_PREFIX = "base_model.model."


class Adapter:
    """LoRA factors injected into a base model. They stay float32 whatever the base's precision is."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        r: int,
        lora_alpha: float,
        lora_dropout: float,
        target_modules: Sequence[str] | str,
    ) -> None:
        """Inject the factors. Raises ModelError where no module of the model matches."""
        from peft import LoraConfig, inject_adapter_in_model

        targets = list(target_linears(model, target_modules))
        config = LoraConfig(
            r=r,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        inject_adapter_in_model(config, model.network, adapter_name=_ADAPTER)
        self.linears = _factor_modules(model.network)
        self._layers = adapted(model)
        for linear in self.linears.values():
            linear.weight.data = linear.weight.data.float()
            linear.weight.requires_grad_(False)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of the factors, by name."""
        return {
            name: (linear.out_features, linear.in_features) for name, linear in self.linears.items()
        }

    def with_cores(self, rows: int) -> dict[str, nn.Linear]:
        """Put an r × rows module between the factors of each adapted module, whose A gets so many rows.

        Return them, all zero. Their names are those of the factors without the ending.
        """
        cores: dict[str, nn.Linear] = {}
        for name, layer in self._layers.items():
            b = layer.lora_B[_ADAPTER]
            cores[name] = core = _still(rows, b.in_features, b.weight.device)
            layer.lora_B[_ADAPTER] = nn.Sequential(core, b)
            if rows != b.in_features:
                a = _still(layer.lora_A[_ADAPTER].in_features, rows, b.weight.device)
                layer.lora_A[_ADAPTER] = self.linears[name + A_SUFFIX] = a
        return cores

    def read(self) -> dict[str, FloatArray]:
        """Return a copy of the factors, float32 on the CPU."""
        return {
            name: linear.weight.detach().cpu().numpy().copy()
            for name, linear in self.linears.items()
        }

    @torch.no_grad()
    def write(self, params: Params, scale: float) -> None:
        """Set the factors; their product counts `scale` times (alpha / rank).

        A factor of smaller rank fills the first rows, the rest is zero. Zero rows of A and zero columns
        of B have zero gradients, so they stay zero: a padded adapter trains as a narrow one would.
        """
        if set(params) != set(self.linears):
            raise ModelError("the adapter's tensors are not those of this model")
        for name, linear in self.linears.items():
            weight = linear.weight
            values = torch.from_numpy(np.ascontiguousarray(params[name])).to(weight.device)
            weight.zero_()
            weight[: values.shape[0], : values.shape[1]].copy_(values)
        for layer in self._layers.values():
            layer.scaling[_ADAPTER] = scale


def adapted(model: LanguageModel) -> dict[str, Any]:
    """Return the layers of PEFT's that stand around the adapted modules, by the names of their factors."""
    from peft.tuners.lora import LoraLayer

    return {
        f"{_PEFT_PREFIX}{path}": each
        for path, each in model.network.named_modules()
        if isinstance(each, LoraLayer)
    }


def factor_shapes(layers: Mapping[str, Any], r: int) -> dict[str, Shape]:
    """Return the shapes of an adapter's factors around these layers. r: its rank."""
    shapes: dict[str, Shape] = {}
    for name, layer in layers.items():
        shapes[name + A_SUFFIX] = (r, layer.in_features)
        shapes[name + B_SUFFIX] = (layer.out_features, r)
    return shapes


def _still(inputs: int, outputs: int, device: torch.device) -> nn.Linear:
    """Return a module of zeros that asks for no gradient."""
    linear = nn.Linear(inputs, outputs, bias=False, device=device)
    linear.weight.requires_grad_(False).zero_()
    return linear


def adapter_in(model: LanguageModel, config: RunConfig) -> Adapter:
    """Inject the factors that a run's config asks for. Raises ModelError where no module matches."""
    lora = config.lora
    return Adapter(
        model,
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules,
    )


def linear_modules(network: Any) -> dict[str, nn.Linear]:
    """Return every nn.Linear of a model but its head, by dotted name."""
    head = network.get_output_embeddings()
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def target_linears(model: LanguageModel, targets: Sequence[str] | str) -> dict[str, nn.Linear]:
    """Return the linear modules that `targets` names: `all-linear`, or endings of their names.

    Raises ModelError, listing the model's own module names, where one of them matches nothing.
    """
    linears = linear_modules(model.network)
    endings = [targets] if isinstance(targets, str) else list(targets)
    if endings == ["all-linear"] and linears:
        return linears
    known = sorted({name.rsplit(".", 1)[-1] for name in linears})
    for ending in endings:
        if not any(_ends(name, ending) for name in linears):
            raise ModelError(
                f"target_modules: no linear module of {model.name} ends in {ending!r}; it has: "
                f"{', '.join(known)} (or use all-linear)"
            )
    if not linears or not endings:
        raise ModelError(
            f"target_modules: {endings} names no linear module of {model.name}, so there is nothing to "
            f"train; it has: {', '.join(known) or 'none (its layers are of another kind)'}"
        )
    return {
        name: linear
        for name, linear in linears.items()
        if any(_ends(name, ending) for ending in endings)
    }


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith("." + ending)


def _factor_modules(network: Any) -> dict[str, nn.Linear]:
    found = {}
    for name, module in network.named_modules():
        for factor in ("lora_A", "lora_B"):
            if name.endswith(f".{factor}.{_ADAPTER}"):
                stem = name.removesuffix(f".{_ADAPTER}")
                found[f"{_PEFT_PREFIX}{stem}.weight"] = module
    return dict(sorted(found.items()))
