"""A method that a config writes out: a space, and a trainer and a form, or roles of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import Role, Who, role
from antiphon.strategies.spaces.space import space as space_of

_PARTS = frozenset({"trainer", "form"})
_WHO = frozenset({"clients", "below_gb", "devices"})


@dataclass(frozen=True)
class _Asked:
    """A role as a config has it."""

    trainer: str
    form: str
    clients: frozenset[str] = frozenset()
    below_gb: float | None = None
    devices: frozenset[str] = frozenset()


def written(
    *,
    config: RunConfig,
    space: str,
    trainer: str = "",
    form: str = "",
    roles: list[dict[str, Any]] | None = None,
) -> Method:
    """A space, and a trainer and a form for all clients, or roles that say for whom."""
    if bool(trainer and form) == bool(roles) or bool(trainer) != bool(form):
        raise ConfigError(
            "method: give a space with a trainer and a form for all clients, or with roles, a list of "
            "{trainer, form, clients | below_gb | devices} whose last one is for all others"
        )
    asked = [_Asked(trainer, form)] if roles is None else [_asked(each) for each in roles]
    return Method(space_of(space, config), _roles(asked, config), config)


def _asked(given: Mapping[str, Any]) -> _Asked:
    names = set(given)
    if not _PARTS <= names <= _PARTS | _WHO:
        raise ConfigError(
            f"method.roles: got {sorted(names)}, expected trainer and form, and of clients, below_gb and "
            "devices those that say who"
        )
    below = given.get("below_gb")
    if not isinstance(below, int | float | None):
        raise ConfigError(f"method.roles: below_gb is {below!r}, expected a number of gigabytes")
    clients, devices = (frozenset(map(str, given.get(each, ()))) for each in ("clients", "devices"))
    return _Asked(str(given["trainer"]), str(given["form"]), clients, below, devices)


def _roles(asked: list[_Asked], config: RunConfig) -> tuple[Role, ...]:
    *some, others = asked
    if others != _Asked(others.trainer, others.form):
        raise ConfigError(
            "method.roles: the last role is for all clients that have no other: leave clients, below_gb "
            "and devices out of it"
        )
    found = [
        _role(each, config, Who("method.roles", each.clients, each.below_gb, each.devices))
        for each in some
    ]
    made = (*found, _role(others, config, None))
    if len({each.name for each in made}) != len(made):
        raise ConfigError("method.roles: two roles with one trainer and one form: make them one")
    return made


def _role(asked: _Asked, config: RunConfig, who: Who | None) -> Role:
    return role(f"{asked.trainer}+{asked.form}", asked.trainer, asked.form, config, who)
