"""How much work an assignment is, known before it is done: its steps and their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from antiphon.client.data.batches import batches
from antiphon.client.data.clients import ClientData
from antiphon.core.types import Assignment


@dataclass(frozen=True)
class Workload:
    """Steps that a client will really take, and the tokens that it will see in them."""

    steps: int
    tokens: int


def workload_of(assignment: Assignment, data: ClientData, examples_per_step: int) -> Workload:
    """Return what an assignment comes to; it ends with the step that reaches `max_tokens`."""
    steps = tokens = 0
    for seen in _tokens_of_steps(assignment, data, examples_per_step):
        steps, tokens = steps + 1, tokens + seen
        if assignment.max_tokens and tokens >= assignment.max_tokens:
            break
    return Workload(steps, tokens)


def mean_tokens(data: ClientData) -> float:
    """Return the mean length of a client's training examples."""
    return sum(len(each.input_ids) for each in data.train) / len(data.train)


def _tokens_of_steps(assignment: Assignment, data: ClientData, size: int) -> Iterator[int]:
    lengths = [len(each.input_ids) for each in data.train]
    first, steps = assignment.first_step, assignment.steps
    for indices in islice(batches(assignment.seed, len(lengths), size), first, first + steps):
        yield sum(lengths[index] for index in indices)
