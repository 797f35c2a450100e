"""The client's half of a base: how a model comes into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from antiphon.core import registry
from antiphon.core.errors import ConfigError, DeviceError
from antiphon.core.run_sections import AUTO
from antiphon.core.section import Choice
from antiphon.strategies.bases.base import Base as Known
from antiphon.strategies.bases.base import Need, base


class Base(Protocol):
    """What loads a model in one way."""

    def gains(self, device: torch.device) -> bool:
        """Whether `auto` may take it on this device: it computes there as fast as any that is larger."""
        ...

    def load(self, source: Path | str, device: torch.device) -> Any:
        """Return a frozen causal language model of Hugging Face's kind on the device, for evaluation.

        source: a folder, a GGUF file or a hub id. Raises ModelError where it cannot be read.
        """
        ...


def chosen(wish: Choice, device: torch.device, wanted: frozenset[Need]) -> tuple[Known, Base]:
    """Return both halves of a base. wish: of the config; wanted: what the run's parts want of it.

    auto: the smallest of those that gain on this device and give all that is wanted. Raises ConfigError
    where there is none, DeviceError where one that was asked for cannot be held on the device.
    """
    if wish.kind == AUTO:
        return _smallest(device, wanted)
    known = base(wish)
    if known.devices is not None and device.type not in known.devices:
        raise DeviceError(
            f"base {known.kind} can be held on {', '.join(sorted(known.devices))}, but this machine "
            f"computes on {device.type}: choose another base, or another device"
        )
    return known, _half(wish)


def _smallest(device: torch.device, wanted: frozenset[Need]) -> tuple[Known, Base]:
    candidates = []
    for name in registry.members("base"):
        try:
            known, half = base(Choice(kind=name)), _half(Choice(kind=name))
        except ConfigError:  # it cannot be loaded, or needs arguments: nobody asked for it
            continue
        fits = known.devices is None or device.type in known.devices
        if fits and not known.lacks(wanted) and half.gains(device):
            candidates.append((known, half))
    if not candidates:
        needs = " and ".join(each.value for each in Need if each in wanted)
        raise ConfigError(
            f"model.base is {AUTO}, but no installed base that fits {device.type} gives {needs}: name one, "
            "or choose another method"
        )
    return min(candidates, key=lambda each: (each[0].bytes_per_parameter, each[0].kind))


def _half(choice: Choice) -> Base:
    built: Base = registry.build(registry.HALVES["base"], choice.kind, choice.arguments)
    return built
