"""Method `seeds`: FedKSeed (Qin et al., ICML 2024, arXiv 2312.06353)."""

from __future__ import annotations

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import Method, is_packed, role
from antiphon.strategies.server_opt.optimizers import ServerOptimizer
from antiphon.strategies.spaces.space import space


def seeds(*, config: RunConfig) -> Method:
    """Zeroth-order training; clients send a seed and a number for each step."""
    optimizer: ServerOptimizer = registry.build(
        "server_opt", config.server_opt.kind, config.server_opt.arguments
    )
    if not optimizer.linear:
        raise ConfigError(
            f"server_opt {config.server_opt.kind} is not linear, so it cannot act on seed-scalars: "
            "use sgd, momentum or nesterov with method seeds"
        )
    rule = registry.build("aggregation", config.aggregation.kind, config.aggregation.arguments)
    if rule.coordinates:
        raise ConfigError(
            f"aggregation {config.aggregation.kind} looks at each number alone, but clients of method "
            "seeds try seeds of their own, so that most numbers of each are zero: use product, "
            "multi_krum, geometric_median or centered_clip"
        )
    if is_packed(config):
        raise ConfigError(
            "compression packs tensors, but method seeds sends a few scalars: leave it out"
        )
    return Method(space("span", config), (role("seeds", "spsa", "scalars", config),))
