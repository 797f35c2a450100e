"""A method: what the clients of a run do, as roles of a trainer and a form each.

A preset names one; installing a member of kind `method` adds another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.core.types import DENSE, Plain
from antiphon.strategies.bases.base import Base, Need, giving, known_base
from antiphon.strategies.exchanges.exchange import Exchange, check_list, training
from antiphon.strategies.forms.form import Form, form
from antiphon.strategies.method import ServerMethod
from antiphon.strategies.spaces.space import Space
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
    """What some clients do. name: what assignments call it; who: none, everybody with no role before it."""

    name: str
    trainer: Trainer
    form: Form
    who: Who | None = None


@dataclass(frozen=True)
class Method:
    """A space, and the roles of a run in it, in the order in which clients are looked at; the last is for
    all others. exchanges: of each round, in their order; measuring comes after them.
    """

    space: Space
    roles: tuple[Role, ...]
    exchanges: tuple[Exchange, ...] = (training(),)
    _by_name: Mapping[str, Role] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise ConfigError for a trainer whose steps its form cannot say, or impossible exchanges."""
        check_list(self.exchanges)
        object.__setattr__(self, "_by_name", {each.name: each for each in self.roles})
        for each in self.roles:
            if each.form.walks and not each.trainer.walks:
                raise ConfigError(
                    f"form {each.form.kind} sends a walk along seeded directions, but the steps of trainer "
                    f"{each.trainer.kind} are along none: choose another form, or another trainer"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """What assignments of the run can ask for."""
        return tuple(self._by_name)

    @property
    def most_steps(self) -> int:
        """Local steps of a client and round at most."""
        return max(each.trainer.steps for each in self.roles)

    @property
    def most_examples(self) -> int:
        """Examples that one step takes together at most."""
        return max(each.trainer.examples_per_step for each in self.roles)

    @property
    def wants(self) -> frozenset[Need]:
        """What its parts need of a base, and what they like: what a machine chooses by for itself."""
        trainers = [each.trainer for each in self.roles]
        return self.space.needs.union(*(each.needs | each.likes for each in trainers))

    @property
    def packs(self) -> bool:
        """Whether a codec packs what some clients send."""
        return any(each.form.packs for each in self.roles)

    def serve(self) -> ServerMethod:
        """Return the server's half: pure functions on the state of the model."""
        return self.space.serve(any(each.form.walks for each in self.roles))

    def role(self, name: str) -> Role:
        """Return the role that an assignment names. Raises KeyError for another run's."""
        return self._by_name[name]

    def role_of(self, client: str, facts: Mapping[str, Plain]) -> Role:
        """Return what a client does: the first role that is for it and that its base allows, else the
        first that its base allows. facts: see Who.includes; `base`: how it holds the model.
        """
        theirs = [
            each for each in self.roles if each.who is None or each.who.includes(client, facts)
        ]
        told = facts.get("base")
        held = known_base(told) if isinstance(told, str) else None
        allowed = self.roles if held is None else self.roles_on(held)
        return next((each for each in (*theirs, *self.roles) if each in allowed), theirs[0])

    def roles_on(self, base: Base) -> tuple[Role, ...]:
        """Return the roles that a client with this base can have."""
        return tuple(each for each in self.roles if not base.lacks(self._needs(each)))

    def check_base(self, base: Base) -> None:
        """Raise ConfigError where a client with this base can have no role of the run."""
        if not self.roles_on(base):
            raise ConfigError(self.refusal(base, self.roles[-1]))

    def refusal(self, base: Base, role: Role) -> str:
        """Return why a role cannot be carried out on a base, and on which it can."""
        lacks = base.lacks(self._needs(role))[0]
        of_space = lacks in self.space.needs
        part = f"space {self.space.kind}" if of_space else f"trainer {role.trainer.kind}"
        usable = ", ".join(giving(self._needs(role))) or "none that is installed"
        return f"base {base.kind} does not give {lacks.value}, which {part} needs: use {usable}"

    def _needs(self, role: Role) -> frozenset[Need]:
        return self.space.needs | role.trainer.needs


def method_of(config: RunConfig) -> Method:
    """Return the method that a run's config names. Raises ConfigError where it does not fit the rest."""
    built: Method = registry.build("method", config.method, {}, {"config": config})
    return built


def role(
    name: str, trainer_kind: str, form_kind: str, config: RunConfig, who: Who | None = None
) -> Role:
    """Return a role of installed members."""
    return Role(name, trainer(trainer_kind, config), form(form_kind, config), who)


def is_packed(config: RunConfig) -> bool:
    """Whether the config names a codec for either way."""
    compression = config.compression
    return {compression.uplink.kind, compression.downlink.kind} != {DENSE}
