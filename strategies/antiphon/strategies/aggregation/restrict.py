"""The best adapter of another rank: what a client of smaller rank downloads."""

from __future__ import annotations

from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX, factors_of, modules
from antiphon.strategies.aggregation.low_rank import Product, spectrum, truncate


def restrict(params: Params, r: int, *, scale: float, scale_at_r: float) -> dict[str, FloatArray]:
    """Return rank-r factors with scale_at_r · B′A′ nearest to scale · BA, under the same names.

    scale: alpha / r of `params`; scale_at_r: alpha / r of the result. A module that has this rank
    and this scale already comes back as it is.
    """
    restricted: dict[str, FloatArray] = {}
    for module in modules(params):
        names = (module + A_SUFFIX, module + B_SUFFIX)
        if len(params[names[0]]) == r and scale == scale_at_r:
            restricted |= {name: params[name] for name in names}
            continue
        whole = factors_of(params, module)
        nearest = truncate(spectrum([Product(scale, whole)], r), r, scale_at_r, spare=whole.a)
        restricted |= nearest.named(module)
    return restricted
