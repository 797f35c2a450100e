"""Form `scalars`: a walk along seeded directions, a seed and a number for each step."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from antiphon.core.config import RunConfig
from antiphon.core.directions import run_key
from antiphon.core.errors import UpdateError
from antiphon.core.seed_choice import Indices, given, in_turn, pool
from antiphon.core.types import Assignment, FloatArray, Package, Update
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.form import Arrived, Form
from antiphon.strategies.forms.walk import Walk

_FLOAT_BYTES = 4
_VARINT_BITS = 7
_KIND = "scalars"
DRAWN = "pro"


def scalars(*, config: RunConfig) -> Form:
    """A few bytes for each step, whatever the size of the space."""
    seeds = config.seeds
    return walks(
        seeds.num_seeds,
        key=run_key(config.seed),
        max_scalar=seeds.max_scalar,
        drawn=seeds.sampling == DRAWN,
    )


def walks(num_seeds: int, *, key: int, max_scalar: float, drawn: bool = False) -> Form:
    """Return the form. num_seeds: K; key: of the run's directions; max_scalar: a scalar beyond it is
    refused (clients clip to it); drawn: clients draw their seeds by probabilities.
    """
    # Where a step has moved nothing, the seeds of the others are sent too.
    each = _FLOAT_BYTES + -(-max(1, num_seeds - 1).bit_length() // _VARINT_BITS)

    def size(numbers: int, codec: Codec | None, steps: int) -> float:
        return each * steps

    def completed(update: Update, assignment: Assignment) -> Update:
        arrays = update.payload.arrays
        if drawn or set(arrays) != {"value"} or len(arrays["value"]) > assignment.steps:
            return update
        index = given(assignment, key, num_seeds)[: len(arrays["value"])]
        return replace(update, payload=Package(update.payload.form, {**arrays, "index": index}))

    def check(update: Update, assignment: Assignment) -> None:
        walk = checked_walk(update, num_seeds, max_scalar)
        check_choice(walk, assignment, key=key, num_seeds=num_seeds, drawn=drawn)

    def delta(arrived: Arrived) -> Tensors:
        gradients = walk_of(arrived.update).gradients(num_seeds)
        own, of_round = arrived.learning_rate, arrived.rate_of_round
        return arrived.walked(arrived.start, gradients, own, of_round)

    says = "a number for each step and its seed"
    return Form(
        _KIND,
        packs=False,
        walks=True,
        says=says,
        size=size,
        check=check,
        delta=delta,
        tensors=False,
        completed=completed,
    )


def packed(walk: Walk, expected: Indices | None = None) -> Package:
    """Return what a client sends of its walk. expected: the seeds that the coordinator knows it was given,
    in their order, uint32 (steps,): a walk along them, from the first on, need not say them; none: it does.
    """
    known = expected is not None and np.array_equal(walk.index, expected[: len(walk.index)])
    return Package(_KIND, {"value": walk.value} | ({} if known else {"index": walk.index}))


def walk_of(update: Update) -> Walk:
    """Return the walk that a client sent. Raises UpdateError for another payload."""
    arrays = update.payload.arrays
    if set(arrays) != {"index", "value"}:
        raise UpdateError(
            f"client {update.client} sent {sorted(arrays)[:4]}, but the round asked for index and value"
        )
    index, value = arrays["index"], arrays["value"]
    if len(index) == 0:  # nothing says its dtype
        index = index.astype(np.uint32)
    if index.dtype != np.uint32 or value.dtype != np.float32:
        raise UpdateError(
            f"client {update.client} sent {index.dtype} indices and {value.dtype} scalars, expected uint32 "
            "and float32"
        )
    return Walk(cast(Indices, index), cast(FloatArray, value))


def checked_walk(update: Update, num_seeds: int, max_scalar: float) -> Walk:
    """Return what a client sent. num_seeds: K; max_scalar: bound of |g|.

    Raises UpdateError for another payload, indices beyond K, or scalars that are not finite or too large.
    """
    sent = walk_of(update)
    if sent.index.shape != sent.value.shape or sent.index.ndim != 1:
        raise UpdateError(
            f"client {update.client} sent {sent.index.shape} indices for {sent.value.shape} "
            "scalars, expected one index for each scalar"
        )
    beyond = sent.index[sent.index >= num_seeds]
    if len(beyond):
        raise UpdateError(f"client {update.client}: seed {beyond[0]}, but K is {num_seeds}")
    # Written so that NaN is refused too.
    if not (np.abs(sent.value) <= max_scalar).all():
        raise UpdateError(
            f"client {update.client} sent a scalar that is not finite or beyond "
            f"max_scalar = {max_scalar:g}: clients clip to it"
        )
    return sent


def check_choice(
    sent: Walk, assignment: Assignment, *, key: int, num_seeds: int, drawn: bool = False
) -> None:
    """Look whether a client moved along the seeds that it was given. key: of the run; num_seeds: K.

    drawn: it drew them by probabilities, which may have changed since: then they must be of the round's
    pool. Raises UpdateError for more scalars than steps, and for seeds of the client's own choice.
    """
    client, taken = assignment.client, len(sent.index)
    if taken > assignment.steps:
        raise UpdateError(
            f"client {client} sent {taken} scalars, the assignment asked for {assignment.steps} steps"
        )
    if drawn:
        candidates = pool(key, assignment.round, num_seeds, assignment.pool)
        is_as_given = bool(np.isin(sent.index, candidates).all())
    else:
        is_as_given = in_turn(sent.index, given(assignment, key, num_seeds))
    if not is_as_given:
        raise UpdateError(
            f"client {client} moved along other seeds than round {assignment.round} gave it: the "
            "coordinator says which seeds a client tries. Does it run another version of Antiphon?"
        )
