"""What a client must have in common with a run: what its base model trains, and a count that can be.

Pure, and the same at the coordinator's door and on Flower. A client's word comes from a machine that
nobody vouches for, so that every number and name is bounded before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from antiphon.core.errors import AntiphonError
from antiphon.server.space import Shape, Space
from antiphon.v1 import coordinator_pb2 as pb

_MAX_MATRICES: Final = 20_000
_MAX_SIDE: Final = 1 << 20
_MAX_TEXT: Final = 200
_MAX_EXAMPLES: Final = 1 << 40
_SHA256_BYTES: Final = 32


class Disagreement(AntiphonError):
    """What a client says does not fit the run; the message is for whoever runs the client."""


def check_examples(examples: int) -> None:
    """Raise Disagreement for a number of training examples that no client can hold."""
    if not 1 <= examples <= _MAX_EXAMPLES:
        raise Disagreement(f"{examples} training examples, expected at least 1")


def reported_space(report: pb.SpaceReport, base_model: str) -> Space:
    """Return what a client says the run trains in its base model, which the run calls `base_model`.

    Raises Disagreement for what no run can train.
    """
    factors, weights = _shapes(report.factors), _shapes(report.weights)
    if bool(factors) == bool(weights):
        raise Disagreement("expected the shapes of either factors or weights")
    if len(report.model_digest) not in (0, _SHA256_BYTES):
        raise Disagreement(
            f"a model digest of {len(report.model_digest)} bytes, expected {_SHA256_BYTES}"
        )
    return Space(factors, weights, base_model, report.model_parameters, report.model_digest.hex())


def check_same_space(ours: Space, theirs: Space) -> None:
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
    if len(listed) > _MAX_MATRICES:
        raise Disagreement(f"{len(listed)} matrices, expected {_MAX_MATRICES} at most")
    for each in listed:
        plain = 0 < len(each.name) <= _MAX_TEXT and each.name.isprintable()
        if not plain or not (0 < each.rows <= _MAX_SIDE and 0 < each.columns <= _MAX_SIDE):
            raise Disagreement(
                f"matrix {each.name[:80]!r} of {each.rows} × {each.columns} is not possible"
            )
    return {each.name: (each.rows, each.columns) for each in listed}
