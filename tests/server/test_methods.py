"""What of a config makes no method."""

import pytest

from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import method_of


@pytest.mark.parametrize("rule", ["trimmed_mean", "median"])
def test_a_rule_on_each_number_alone_is_refused_with_seeds(tiny_config, rule):
    """Clients try seeds of their own: the middle of each number would be zero, and nothing learnt."""
    with pytest.raises(ConfigError, match="multi_krum"):
        tiny_config("method=seeds", f"aggregation={rule}")


@pytest.mark.parametrize("method", ["lora", "seeds"])
@pytest.mark.parametrize("rule", ["product", "multi_krum", "geometric_median", "centered_clip"])
def test_other_rules_serve_both_methods(tiny_config, method, rule):
    """Means, and what needs lengths and angles only."""
    assert method_of(tiny_config(f"method={method}", f"aggregation={rule}"))
