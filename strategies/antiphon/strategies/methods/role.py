"""A role: what some clients of a run do, as a trainer and a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.core.config import RunConfig
from antiphon.core.types import Plain
from antiphon.strategies.forms.form import Form, form
from antiphon.strategies.trainers.trainer import Trainer, trainer

_GB = 1e9


@dataclass(frozen=True)
class Who:
    """Which clients have a role: these, those with less memory than `below_gb`, those on such a device.

    key: of the config, where they are named.
    """

    key: str
    clients: frozenset[str] = frozenset()
    below_gb: float | None = None
    devices: frozenset[str] = frozenset()

    def includes(self, client: str, facts: Mapping[str, Plain]) -> bool:
        """Whether a client is one of them. facts: what its machine said of itself when it joined."""
        memory = facts.get("memory_bytes")
        small = (
            self.below_gb is not None
            and isinstance(memory, int | float)
            and memory < self.below_gb * _GB
        )
        return client in self.clients or small or facts.get("device") in self.devices


@dataclass(frozen=True)
class Role:
    """What some clients do. name: what assignments call it; who: none, everybody with no role before it;
    form: how a delta is said; under: the form around it in which it travels, none: its own.
    """

    name: str
    trainer: Trainer
    form: Form
    who: Who | None = None
    under: Form | None = None

    @property
    def travels(self) -> Form:
        """The form in which a package travels: its own, or the one around it."""
        return self.under or self.form


def role(
    name: str, trainer_kind: str, form_kind: str, config: RunConfig, who: Who | None = None
) -> Role:
    """Return a role of installed members."""
    return Role(name, trainer(trainer_kind, config), form(form_kind, config), who)
