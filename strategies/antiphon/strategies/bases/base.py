"""What is known of a base, the way in which a frozen model is held, before a model is loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.core.section import Choice

_MOST_KNOWN = 256


class Need(Enum):
    """What trainers and spaces can need of a base; the value says it in the middle of a sentence."""

    GRADIENTS = "gradients that pass through it"
    DRAWS = "random directions drawn to the bit where it computes"
    LOSSES = "losses that tell small steps apart"
    WEIGHTS = "weights that keep small steps"


@dataclass(frozen=True)
class Base:
    """How a frozen base model is held in memory; the client's half of the same name loads it.

    kind: its name; bytes_per_parameter: of the model's weights; gives: what can be done with it; devices:
    kinds of device that it can be held on (`cpu`, `cuda`, `mps`), none: any.
    """

    kind: str
    bytes_per_parameter: float
    gives: frozenset[Need]
    devices: frozenset[str] | None = None

    def lacks(self, needs: Collection[Need]) -> tuple[Need, ...]:
        """Return what of the needs it does not give, in the order of Need."""
        return tuple(each for each in Need if each in needs and each not in self.gives)


def base(choice: Choice) -> Base:
    """Return an installed base. Raises ConfigError."""
    built: Base = registry.build("base", choice.kind, choice.arguments)
    return built


@lru_cache(_MOST_KNOWN)
def known_base(kind: str) -> Base | None:
    """Return the base that a client says it holds, with its defaults; none: no such base is installed
    here, or it has none, and what the client can do is the client's to know.
    """
    try:
        return base(Choice(kind=kind))
    except ConfigError:
        return None


def giving(needs: Collection[Need]) -> tuple[str, ...]:
    """Return the installed bases that give all of the needs."""
    found = ((name, known_base(name)) for name in registry.members("base"))
    return tuple(name for name, each in found if each is not None and not each.lacks(needs))
