"""Method `seeds`: FedKSeed (Qin et al., ICML 2024, arXiv 2312.06353)."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import role
from antiphon.strategies.spaces.space import space


def seeds(*, config: RunConfig) -> Method:
    """Zeroth-order training; clients send a seed and a number for each step."""
    return Method(
        space("span", config),
        (role("seeds", "spsa", "scalars", config),),
        config,
        usual_protection=("agree",),
    )
