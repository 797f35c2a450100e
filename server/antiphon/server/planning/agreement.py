"""What a client must have in common with a run: what its base model trains, and a count that can be.

Pure, and the same at the coordinator's door and on Flower. A client's word comes from a machine that
nobody vouches for, so that every number and name is bounded before anything is made of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from antiphon.core.config import RunConfig
from antiphon.core.errors import AntiphonError
from antiphon.core.space import Shape, SpaceShapes
from antiphon.server.folding.possible_space import ImpossibleSpace, check_possible
from antiphon.v1 import coordinator_pb2 as pb

_MAX_EXAMPLES: Final = 1 << 40


class Disagreement(AntiphonError):
    """What a client says does not fit the run; the message is for whoever runs the client."""


def check_examples(examples: int) -> None:
    """Raise Disagreement for a number of training examples that no client can hold; 0: it is not told."""
    if not 0 <= examples <= _MAX_EXAMPLES:
        raise Disagreement(f"{examples} training examples, expected at most {_MAX_EXAMPLES}")


def reported_space(report: pb.SpaceReport, config: RunConfig) -> SpaceShapes:
    """Return what a client says the run trains in its base model.

    Raises Disagreement for what no run of this config can train.
    """
    space = SpaceShapes(
        _shapes(report.factors),
        _shapes(report.weights),
        config.model.model_name_or_path,
        report.model_parameters,
        report.model_digest.hex(),
    )
    try:
        check_possible(space, config)
    except ImpossibleSpace as error:
        raise Disagreement(str(error)) from None
    return space


def claim_of(space: SpaceShapes) -> str:
    """Return a hash of all that a client says of its base model: equal for those who say the same."""
    told = [
        [sorted(space.factors.items()), sorted(space.weights.items())],
        [space.model_parameters, space.model_digest],
    ]
    return hashlib.sha256(repr(told).encode(errors="surrogatepass")).hexdigest()


def votes_needed(clients: int) -> int:
    """Return how many of the clients that a run waits for must say the same: a strict majority."""
    return clients // 2 + 1


def check_same_space(ours: SpaceShapes, theirs: SpaceShapes) -> None:
    """Raise Disagreement where a client's base model has other shapes or weights than the run's."""
    if (ours.factors, ours.weights) != (theirs.factors, theirs.weights):
        mine, yours = {**ours.factors, **ours.weights}, {**theirs.factors, **theirs.weights}
        differ = sorted(name for name in {*mine, *yours} if mine.get(name) != yours.get(name))
        raise Disagreement(
            f"the run trains other shapes than this client's model has ({', '.join(differ[:3])[:200]}): "
            "use the base model that the config names"
        )
    if ours.model_digest != theirs.model_digest:
        raise Disagreement(
            f"this client's base model has the weights {theirs.model_digest[:16] or 'unknown'}…, the run "
            f"began on {ours.model_digest[:16] or 'unknown'}…: use the same files"
        )


def _shapes(matrices: Iterable[pb.MatrixShape]) -> dict[str, Shape]:
    listed = list(matrices)
    shapes = {each.name: (each.rows, each.columns) for each in listed}
    if len(shapes) < len(listed):
        raise Disagreement("a matrix is named twice")
    return shapes
