"""A method: what the clients of a run do, as roles of a trainer and a form each.

A preset names one; installing a member of kind `method` adds another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import cast

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.errors import ConfigError
from antiphon.core.types import Params, Plain, State
from antiphon.strategies.bases.base import Base, Need, giving, known_base
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.downlink import packed_changes, packed_downlink
from antiphon.strategies.exchanges.exchange import Exchange, check_list, training
from antiphon.strategies.fold import Chain, Stage
from antiphon.strategies.forms.masked import masked
from antiphon.strategies.guard import guard
from antiphon.strategies.methods.legal import check_legal
from antiphon.strategies.methods.ranks import ranks_of
from antiphon.strategies.methods.role import Role
from antiphon.strategies.methods.served import Served
from antiphon.strategies.protection.protection import Protection, protecting
from antiphon.strategies.secure.exchanges import SecureSums
from antiphon.strategies.secure.legal import check_secure
from antiphon.strategies.secure.terms import terms_of
from antiphon.strategies.server_opt.optimizers import ServerOptimizer, stepping
from antiphon.strategies.spaces.space import Space
from antiphon.strategies.staleness import staleness


@dataclass(frozen=True)
class Method:
    """A space, and the roles of a run in it, in the order in which clients are looked at; the last is for
    all others. config: of the run; exchanges: its own of each round, in their order;
    usual_protection: what a run has after the usual protections where its config names none.
    """

    space: Space
    roles: tuple[Role, ...]
    config: RunConfig = field(repr=False, compare=False)
    exchanges: tuple[Exchange, ...] = (training(),)
    usual_protection: tuple[str, ...] = ()
    secure: SecureSums | None = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, Role] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise ConfigError where the parts do not fit together, or for impossible exchanges."""
        terms = terms_of(self.config, self.space, [each.trainer for each in self.roles])
        secure = SecureSums(terms, self.space) if terms else None
        roles = [
            replace(each, under=masked(terms, self.space) if terms else None) for each in self.roles
        ]
        object.__setattr__(self, "secure", secure)
        object.__setattr__(self, "roles", tuple(roles))
        object.__setattr__(self, "_by_name", {each.name: each for each in self.roles})
        check_list(self.every_exchange)
        check_legal(self.space, self.roles, self.config)
        if secure:
            check_secure(self.space, self.roles, self.config)

    @property
    def every_exchange(self) -> tuple[Exchange, ...]:
        """The exchanges of a round, in their order: those of the space's frames come before its own, those
        of a secure sum around training, and measuring comes after them.
        """
        found = self.space.frames.exchange
        own = self.secure.around(self.exchanges) if self.secure else self.exchanges
        return own if found is None else (found, *own)

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
    def sections(self) -> tuple[str, ...]:
        """The sections of the config that its parts read."""
        read = (*self.space.sections, *(each.trainer.section for each in self.roles))
        return tuple(dict.fromkeys(each for each in read if each))

    @property
    def work(self) -> dict[str, dict[str, int]]:
        """What a round asks of a client, by role: steps, examples of a pass, passes of a step."""
        trainers = {each.name: each.trainer for each in self.roles}
        return {
            name: {"steps": each.steps, "batch": each.batch, "accumulation": each.accumulation}
            for name, each in trainers.items()
        }

    @property
    def exchange_work(self) -> dict[str, Mapping[str, int]]:
        """What its other exchanges draw of a client's rows, as `work` says it of training."""
        frames = self.space.frames
        return {frames.exchange.name: frames.work} if frames.exchange and frames.work else {}

    @property
    def wants(self) -> frozenset[Need]:
        """What its parts need of a base, and what they like: what a machine chooses by for itself."""
        trainers = [each.trainer for each in self.roles]
        return self.space.needs.union(*(each.needs | each.likes for each in trainers))

    @property
    def packs(self) -> bool:
        """Whether a codec packs what some clients send."""
        return self.secure is None and any(each.form.packs for each in self.roles)

    @property
    def guarded(self) -> bool:
        """Whether a round after which the losses explode is undone: where all steps are along seeds."""
        return all(each.trainer.walks for each in self.roles)

    @property
    def inline(self) -> frozenset[str]:
        """The roles whose packages are small arrays, which no codec packs."""
        return frozenset(each.name for each in self.roles if not each.travels.packs)

    def serve(self) -> Served:
        """Return the server's half: pure functions on the state of the model."""
        forms = {each.name: each.travels for each in self.roles}
        before = (guard(_guard_factor(self.config)),) if self.guarded else ()
        folded = _chain(self.space, self.config, before)
        return Served(self.space, forms, folded, ranks_of(self.config.lora), self.secure)

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
    return _built(_This(config))


class _This:
    """A config as a key: itself, and no other that is equal."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def __hash__(self) -> int:
        return id(self.config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _This) and other.config is self.config


# A config never changes, and its method is asked for several times with each update of a run.
@lru_cache(maxsize=4)
def _built(this: _This) -> Method:
    chosen, given = this.config.method, {"config": this.config}
    built: Method = registry.build("method", chosen.kind, chosen.arguments, given)
    return built


def _guard_factor(config: RunConfig) -> float:
    # Cohorts that change have losses that differ for no fault of the model: then only a loss that is not
    # finite counts, and what the held-out evaluation says.
    changes = config.cohort.size or config.cohort.asynchronous
    return math.inf if changes else config.seeds.guard_loss_factor


def _chain(space: Space, config: RunConfig, before: Sequence[Stage]) -> Chain:
    protections = [
        registry.build("protection", each.kind, each.arguments) for each in config.protection
    ]
    optimizer = registry.build("server_opt", config.server_opt.kind, config.server_opt.arguments)
    compression, last = config.compression, []
    if compression.downlink.kind != DENSE:
        down = compression.downlink
        codec: Codec = registry.build("codec", down.kind, down.arguments)
        last.append(_downlink(space, config, codec))
    between = [registry.build("stage", each.kind, each.arguments) for each in config.stages]
    return chain(space, protections, optimizer, last, between, before)


def _downlink(space: Space, config: RunConfig, codec: Codec) -> Stage:
    feedback = config.compression.error_feedback
    if not config.compression.changes:
        return packed_downlink(codec, config.seed, feedback=feedback)

    def received(state: State) -> Params:
        return cast(Params, space.download(state, config.lora.r).arrays)

    return packed_changes(codec, config.seed, received, feedback=feedback)


def chain(
    space: Space,
    protections: Sequence[Protection],
    optimizer: ServerOptimizer,
    last: Sequence[Stage] = (),
    between: Sequence[Stage] = (),
    before: Sequence[Stage] = (),
) -> Chain:
    """Return the fold of a run: the space's own stages, and those around them.

    before: everything; between: before the optimizer's step; last: after everything.
    """
    stages = (
        *before,
        staleness(),
        protecting(protections, space.geometry),
        *between,
        stepping(optimizer),
        *space.last,
        *last,
    )
    return Chain(stages, space.reduce)
