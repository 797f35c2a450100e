"""A method of three exchanges, as somebody else would install it: commit to a number, train, reveal it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.plugins import write_distribution

from antiphon.client.exchanges.exchange import Answer, Asked
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import State
from antiphon.strategies.exchanges.exchange import Exchange, SoFar, training
from antiphon.strategies.methods.lora import lora
from antiphon.strategies.methods.method import Method

ENTRY_POINTS = """
[antiphon.method]
committed = tests.committed:committed

[antiphon.client_exchange]
commit = tests.committed:commit_half
reveal = tests.committed:reveal_half
"""


def install(folder: Path) -> None:
    """Write the distribution that makes the method known; see tests.plugins.installed."""
    write_distribution(folder, "antiphon-committed", ENTRY_POINTS)


def committed(*, config: RunConfig) -> Method:
    """Train as `lora` does, between two exchanges of numbers."""
    commit = Exchange("commit", _one_number, _by_client_and_sum)
    reveal = Exchange("reveal", _half_of_it, _by_client_and_sum, most_bytes=200)
    return replace(lora(config=config), exchanges=(commit, training(_mean), reveal))


def commit_half(*, config: RunConfig) -> object:
    """Return the client's half: twice its number of examples; the number itself stays here."""

    def answer(asked: Asked) -> Answer:
        number = np.array([len(asked.data.train)], np.uint64)
        return Answer({"number": 2 * number}, kept={"number": number})

    return answer


def reveal_half(*, config: RunConfig) -> object:
    """Return the client's half: what the first exchange has kept."""

    def answer(asked: Asked) -> Answer:
        return Answer({"number": asked.kept["number"]}, kept=asked.kept)

    return answer


def _one_number(so_far: SoFar, client: str, answer: State) -> None:
    shapes = {name: (value.shape, str(value.dtype)) for name, value in answer.items()}
    if shapes != {"number": ((1,), "uint64")}:
        raise UpdateError(f"an answer of {shapes}, expected one number")


def _half_of_it(so_far: SoFar, client: str, answer: State) -> None:
    _one_number(so_far, client, answer)
    if 2 * answer["number"] != so_far.known["commit"][client]:
        raise UpdateError("the number is not what the client has committed to")


def _by_client_and_sum(so_far: SoFar, answers: Mapping[str, State]) -> State:
    numbers = {client: each["number"] for client, each in answers.items()}
    return {**numbers, "sum": np.sum(list(numbers.values()), axis=0, dtype=np.uint64)}


def _mean(so_far: SoFar, client: str) -> State:
    known = so_far.known["commit"]
    return {"mean": known["sum"] / np.float64(len(known) - 1)}
