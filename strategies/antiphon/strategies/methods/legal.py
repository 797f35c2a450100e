"""Which spaces, trainers, forms and rules of a run fit together: the one place where that is asked."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE, FRAMES
from antiphon.core.errors import ConfigError
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.fold import Stage
from antiphon.strategies.methods.role import Role
from antiphon.strategies.protection.protection import Protection
from antiphon.strategies.server_opt.optimizers import ServerOptimizer
from antiphon.strategies.spaces.space import Space


def check_legal(space: Space, roles: Sequence[Role], config: RunConfig) -> None:
    """Raise ConfigError for parts that do not fit, with a sentence that says what does."""
    for each in roles:
        _check_role(space, each)
    _check_rules(space, config)
    _check_ranks(space, roles, config)
    _check_comparison(roles, config)
    _check_stages(space, config)
    _check_frames(space, config)
    _check_compression(space, roles, config)


def _check_role(space: Space, role: Role) -> None:
    form, trainer = role.form, role.trainer
    if form.walks and not trainer.walks:
        raise ConfigError(
            f"form {form.kind} sends a walk along seeded directions, but the steps of trainer "
            f"{trainer.kind} are along none: choose another form, or another trainer"
        )
    if form.tensors and not space.as_tensors:
        raise ConfigError(
            f"form {form.kind} says how tensors have changed, but in space {space.kind} only a walk "
            "along its seeds is known: choose a form that says one, or another space"
        )


def _check_frames(space: Space, config: RunConfig) -> None:
    kind = config.frames.kind
    if not space.frames.kind and kind != FRAMES:
        raise ConfigError(
            f"frames: {kind}, but in space {space.kind} no factor stands still: leave frames out, or use a "
            "space with factors that do"
        )


def _check_rules(space: Space, config: RunConfig) -> None:
    if space.as_tensors:
        return
    kind = config.server_opt.kind
    optimizer: ServerOptimizer = registry.build("server_opt", kind, config.server_opt.arguments)
    if not optimizer.linear:
        raise ConfigError(
            f"server_opt {kind} is not linear, so it cannot act on seed-scalars: use sgd, momentum or "
            f"nesterov with method {config.method.label}"
        )
    kind = config.aggregation.kind
    rule: Aggregation = registry.build("aggregation", kind, config.aggregation.arguments)
    if rule.middle is not None:
        raise ConfigError(
            f"aggregation {kind} looks at each number alone, but clients of method "
            f"{config.method.label} try seeds of their own, so that most numbers of each are zero: use "
            "product, multi_krum, geometric_median or centered_clip"
        )


def _check_ranks(space: Space, roles: Sequence[Role], config: RunConfig) -> None:
    smaller, kind = config.lora.client_ranks, config.aggregation.kind
    if not smaller:
        return
    rule: Aggregation = registry.build("aggregation", kind, config.aggregation.arguments)
    if rule.equal_ranks:
        raise ConfigError(
            f"aggregation {kind} combines A and B of equal rank, but lora.client_ranks gives some "
            "clients another: use aggregation: product, or leave the ranks out"
        )
    if space.as_tensors and not space.ranked:
        raise ConfigError(
            f"space {space.kind} is of one rank, but lora.client_ranks gives some clients another: "
            "leave the ranks out"
        )
    whole = [each.who for each in roles if not each.form.packs and each.who is not None]
    keys = ", ".join(each.key for each in whole)
    if both := sorted({name for each in whole for name in each.clients} & set(smaller)):
        raise ConfigError(
            f"{', '.join(both)}: in {keys} and in lora.client_ranks, but scalars are of the whole adapter, "
            "whatever a client's rank: leave them out of one of the two"
        )


def _check_comparison(roles: Sequence[Role], config: RunConfig) -> None:
    if len({each.form.kind for each in roles}) == 1:
        return
    for chosen in config.protection:
        built: Protection = registry.build("protection", chosen.kind, chosen.arguments)
        if built.reads_agreement:
            raise ConfigError(
                f"protection {chosen.kind} compares the directions of updates, but in a mixed round "
                "scalars and deltas stand nearly at right angles, however honest: leave it out"
            )


def _check_stages(space: Space, config: RunConfig) -> None:
    names = [each.kind for each in config.stages]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise ConfigError(
            f"stages: {', '.join(twice)} twice: what it keeps has one place, name it once"
        )
    rule: Aggregation = registry.build(
        "aggregation", config.aggregation.kind, config.aggregation.arguments
    )
    for chosen in config.stages:
        stage: Stage = registry.build("stage", chosen.kind, chosen.arguments)
        if stage.carries and not (space.leaves_out and rule.carrying):
            raise ConfigError(
                f"stage {chosen.kind} carries on what the aggregation leaves out, but aggregation "
                f"{config.aggregation.kind} in space {space.kind} says nothing of that: leave it out, or "
                "use aggregation: product in a space of two factors that both move"
            )


def _check_compression(space: Space, roles: Sequence[Role], config: RunConfig) -> None:
    up, down = config.compression.uplink.kind, config.compression.downlink.kind
    if up != DENSE and not any(each.form.packs for each in roles):
        raise ConfigError(
            f"compression.uplink packs tensors, but the clients of method {config.method.label} send a few "
            "scalars: leave it out"
        )
    if down != DENSE and not space.as_tensors:
        raise ConfigError(
            f"compression.downlink packs tensors, but the model of space {space.kind} goes down as the "
            "coefficients of its seeds: leave it out"
        )
