"""Which keys of a config a report and a card tell."""

from __future__ import annotations

from antiphon.core.config import resolved
from antiphon.server.report.settings import training_settings


def test_seed_and_hyperparameters_are_told(tiny_config) -> None:
    """Whoever reads them can train the same again."""
    told = training_settings(resolved(tiny_config("seed=11")))

    assert told["seed"] == 11
    assert told["training.learning_rate"] == 0.01
    assert told["lora.target_modules"] == "all-linear"


def test_what_the_method_does_not_read_is_left_out(tiny_config) -> None:
    """Nor is anything told of the data, or of where the run lies."""
    told = training_settings(resolved(tiny_config()))

    assert not [key for key in told if key.split(".")[0] in ("seeds", "data", "output", "engine")]


def test_protections_are_told_as_they_are_called(tiny_config) -> None:
    """A list of strategies with their arguments, in one line."""
    config = tiny_config("protection=[{kind: clip, multiple: 3}, cap]")

    assert training_settings(resolved(config))["protection"] == "clip(multiple=3), cap"


def test_no_client_is_named(tiny_config) -> None:
    """An adapter's card goes further than the run does."""
    ranks = tiny_config("lora.client_ranks={harbour: 4}", "aggregation=product")
    trusts = tiny_config("aggregation={kind: fltrust, trusted: harbour}")

    told = [training_settings(resolved(each)) for each in (ranks, trusts)]

    assert "harbour" not in str(told)
