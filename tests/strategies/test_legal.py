"""What of a run's compression fits its method: what goes up and what goes down are asked apart."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import method_of

SCALARS = "method={space: core, trainer: spsa, form: scalars}"
PACKED = "{kind: ecdq, bits: 4}"


def test_the_model_of_clients_that_send_scalars_may_be_packed(tiny_config: Any) -> None:
    """What goes down is a point of the space, whatever clients say of their way from it."""
    config = tiny_config(SCALARS, f"compression.downlink={PACKED}")

    stages = {each.name for each in method_of(config).serve().chain.stages}

    assert "downlink" in stages


def test_scalars_are_not_packed(tiny_config: Any) -> None:
    """A codec of what goes up has nothing to pack, and says so."""
    with pytest.raises(ConfigError, match=r"compression\.uplink"):
        tiny_config(SCALARS, f"compression.uplink={PACKED}")


def test_coefficients_of_seeds_are_not_packed(tiny_config: Any) -> None:
    """Where the model goes down as coefficients, a codec of tensors has nothing to pack."""
    with pytest.raises(ConfigError, match=r"compression\.downlink"):
        tiny_config("method=seeds", f"compression.downlink={PACKED}")


def test_changes_need_a_codec(tiny_config: Any) -> None:
    """What is not packed goes down as it is: there is no change to name."""
    with pytest.raises(ConfigError, match=r"compression\.changes.*compression\.downlink"):
        tiny_config("compression.changes=true")


def test_coefficients_of_seeds_have_no_change(tiny_config: Any) -> None:
    """They are small, and no codec packs them."""
    with pytest.raises(ConfigError, match=r"compression\.downlink"):
        tiny_config("method=seeds", f"compression={{downlink: {PACKED}, changes: true}}")


@pytest.mark.parametrize("changes", [False, True])
def test_smaller_ranks_go_with_changes_alone(tiny_config: Any, changes: bool) -> None:
    """Whoever has one receives the model as it is; a model that is packed whole is of one rank."""
    given = (
        "lora={r: 8, client_ranks: {meadow: 4}}",
        f"compression={{downlink: {PACKED}, changes: {str(changes).lower()}}}",
    )

    if changes:
        assert tiny_config(*given).compression.changes
    else:
        with pytest.raises(ConfigError, match=r"lora\.client_ranks"):
            tiny_config(*given)
