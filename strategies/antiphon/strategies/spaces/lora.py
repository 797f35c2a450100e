"""Space `lora`: the factors A and B of an adapter (Hu et al., ICLR 2022, arXiv 2106.09685)."""

from __future__ import annotations

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.types import DENSE
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.downlink import packed_downlink
from antiphon.strategies.lora import lora as lora_method
from antiphon.strategies.method import ServerMethod
from antiphon.strategies.mixed import mixed
from antiphon.strategies.seed_space import directions_of
from antiphon.strategies.spaces.space import Space


def lora(*, config: RunConfig) -> Space:
    """The factors A and B of an adapter; its keys are those of `lora`."""

    def serve(walks: bool) -> ServerMethod:
        return _served(config, walks=walks)

    return Space(
        kind="lora",
        trains_weights=False,
        num_seeds=None,
        guarded=False,
        size=lambda numbers, codec: codec.bits(numbers) * numbers / 8,
        serve=serve,
    )


def _served(config: RunConfig, *, walks: bool) -> ServerMethod:
    rule, protections = config.aggregation, config.protection
    method = lora_method(
        aggregation=registry.build("aggregation", rule.kind, rule.arguments),
        optimizer=registry.build("server_opt", config.server_opt.kind, config.server_opt.arguments),
        lora_alpha=config.lora.lora_alpha,
        r=config.lora.r,
        client_ranks=config.lora.client_ranks,
        max_norm=config.training.max_update_norm,
        protections=[
            registry.build("protection", each.kind, each.arguments) for each in protections
        ],
    )
    if walks:
        method = mixed(
            method,
            r=config.lora.r,
            num_seeds=config.seeds.num_seeds,
            max_scalar=config.seeds.max_scalar,
            along=directions_of(config),
        )
    down = config.compression.downlink
    if down.kind == DENSE:
        return method
    codec: Codec = registry.build("codec", down.kind, down.arguments)
    return packed_downlink(method, codec, config.seed, feedback=config.compression.error_feedback)
