"""Which configs can be summed under masks, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import method_of

SECURE = "privacy.secure_aggregation={}"


@pytest.mark.parametrize(
    "method",
    [
        ["method=ffa"],
        ["method=fedsb"],
        ["method=seeds"],
        ["method=lora", "aggregation=factors"],
        ["method={space: core, trainer: spsa, form: scalars}"],
    ],
)
def test_what_adds_up_is_summed_under_masks(tiny_config: Any, method: list[str]) -> None:
    """A round has three exchanges around training, and no protection that would look at single updates."""
    config = tiny_config(*method, SECURE)

    names = [each.name for each in method_of(config).every_exchange]
    assert names == ["secure_keys", "secure_shares", "training", "secure_unmasking"]
    assert config.protection == ()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["method=lora"], "aggregation: factors"),
        (["method=ffa", "aggregation=multi_krum"], "compares single updates"),
        (["method=ffa", "aggregation=median"], "compares single updates"),
        (["method=ffa", "protection=[cap]"], "protection"),
        (["method=ffa", "cohort.work=balanced"], "cohort.work"),
        (["method=ffa", "compression.uplink=sign"], "do not add up"),
        (
            ["method=ffa", "cohort.over_selection=1.5", "cohort.size=2", "cohort.scheduler=random"],
            "calls off",
        ),
        (["method=fedsb", "frames=gradient"], "frames"),
        (["method=seeds", "seeds.sampling=pro"], "seeds.sampling"),
        (["method={space: lora_b, trainer: adamw, form: projection}"], "form"),
        (
            ["method=lora", "aggregation=factors", "lora.client_ranks={client-0: 2}"],
            "rank",
        ),
    ],
)
def test_what_needs_single_updates_is_refused(
    tiny_config: Any, overrides: list[str], reason: str
) -> None:
    """With the key and what to do."""
    with pytest.raises(ConfigError, match=reason):
        tiny_config(*overrides, SECURE)


@pytest.mark.parametrize("key", ["threshold=0.5", "threshold=1.1", "bits=3", "bits=25", "reach=0"])
def test_terms_out_of_range_are_refused(tiny_config: Any, key: str) -> None:
    """A threshold of a half or less would let a coordinator learn both secrets of a member."""
    with pytest.raises(ConfigError):
        tiny_config("method=ffa", f"privacy.secure_aggregation.{key}")
