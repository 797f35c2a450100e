"""Which runs can be summed under masks: those that need nothing but the sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.errors import ConfigError
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.methods.role import Role
from antiphon.strategies.spaces.space import Space

_KEY = "privacy.secure_aggregation"


def check_secure(space: Space, roles: Sequence[Role], config: RunConfig) -> None:
    """Raise ConfigError for a run that asks of single updates what only their sum can say."""
    for reason in _reasons(space, roles, config):
        raise ConfigError(f"{_KEY}: {reason}")


def _reasons(space: Space, roles: Sequence[Role], config: RunConfig) -> Iterator[str]:
    yield from _of_rule(space, config)
    if config.protection:
        names = ", ".join(each.kind for each in config.protection)
        yield f"protection {names} looks at single updates, which nobody sees: set protection: []"
    if (codec := config.compression.uplink.kind) != DENSE:
        yield (
            f"compression.uplink {codec} packs each update for itself, and such bytes do not add up: leave "
            f"it out; {_KEY}.bits says how many bits a number has"
        )
    if config.lora.client_ranks:
        yield "adapters of unlike ranks (lora.client_ranks) do not add up: leave the ranks out"
    if space.last:
        yield (
            f"space {space.kind} remembers what each client has sent (seeds.sampling), which nobody sees: "
            "choose seeds.sampling: uniform"
        )
    if (found := space.frames.exchange) is not None:
        yield (
            f"frames {space.frames.kind} are found in exchange {found.name}, in which the answer of each "
            "is seen: choose frames that follow from the seed"
        )
    for each in roles:
        if not (each.form.packs or each.form.walks):
            yield (
                f"form {each.form.kind} says of each client another part of its delta, and the whole is "
                "summed: choose form delta"
            )
    if len(roles) > 1:
        yield (
            "clients of several roles are asked for unlike things, and masks are of what all are asked: "
            "choose one trainer and form for all"
        )
    if config.cohort.work != "equal":
        yield (
            f"cohort.work: {config.cohort.work} asks each client for other steps, and masks are of what "
            "all are asked: choose equal"
        )
    if config.cohort.over_selection > 1:
        yield (
            "cohort.over_selection calls off those who are late, and each of them costs the others an "
            "unmasking: leave it out"
        )


def _of_rule(space: Space, config: RunConfig) -> Iterator[str]:
    kind = config.aggregation.kind
    rule: Aggregation = registry.build("aggregation", kind, config.aggregation.arguments)
    if rule.weigh is not None or rule.middle is not None:
        yield f"aggregation {kind} compares single updates, which nobody sees: use a mean"
    if space.leaves_out and not rule.equal_ranks:
        yield (
            f"aggregation {kind} takes the products of each client's factors, and only sums of factors are "
            "seen: use aggregation: factors, or a space whose sums are exact, lora_b or core"
        )
