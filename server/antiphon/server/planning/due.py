"""What a config wants after a round: a measurement of the model, its adapter."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.core.types import Plain
from antiphon.strategies.methods.method import method_of


def evaluation_is_due(config: RunConfig, number: int) -> bool:
    """Whether the model is to be measured after this round (0: untouched)."""
    evaluation = config.evaluation
    if number == 0:
        return evaluation.before_first_round
    return number % evaluation.every == 0 or number == config.rounds


def measuring_of(config: RunConfig, number: int, *, everyone: bool) -> dict[str, Plain]:
    """Return how the model after a round (0: untouched) is measured, as a plan says it; empty: it is not.

    everyone: those too are asked who are at work or off line.
    """
    if not evaluation_is_due(config, number):
        return {}
    row: dict[str, Plain] = {"deadline_s": config.evaluation.deadline_s}
    return row | ({"everyone": True} if everyone else {})


def adapter_is_due(config: RunConfig, number: int) -> bool:
    """Whether the adapter after this round is to be saved."""
    every = config.output.adapter_every
    if every is None:
        every = config.rounds if method_of(config).space.trains_weights else 1
    return number == config.rounds or (number > 0 and number % every == 0)
