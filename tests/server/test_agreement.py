"""What a client must have in common with a run, at the coordinator's door and on Flower."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.server.agreement import (
    Disagreement,
    check_examples,
    check_same_space,
    reported_space,
)
from antiphon.server.space import Space
from antiphon.v1 import coordinator_pb2 as pb

SHAPES = {"m.lora_A.weight": (2, 3), "m.lora_B.weight": (4, 2)}
OURS = Space(SHAPES, {}, "tiny", 26, "01" * 32)


def report(shapes=SHAPES, digest: bytes = b"\1" * 32, weights=()) -> pb.SpaceReport:
    told = pb.SpaceReport(model_parameters=26, model_digest=digest)
    for name, (rows, columns) in shapes.items():
        told.factors.add(name=name, rows=rows, columns=columns)
    for name, (rows, columns) in dict(weights).items():
        told.weights.add(name=name, rows=rows, columns=columns)
    return told


IMPOSSIBLE = {
    "nothing": (report({}), "expected the shapes of either factors or weights"),
    "both": (report(weights={"m": (2, 2)}), "expected the shapes of either factors or weights"),
    "an empty matrix": (report({"a": (0, 4)}), "matrix 'a' of 0 × 4 is not possible"),
    "a giant matrix": (report({"a": (2**31, 4)}), "is not possible"),
    "giant weights": (report({}, weights={"a": (4, 2**31)}), "is not possible"),
    "no name": (report({"": (4, 4)}), "is not possible"),
    "a name of lines": (report({"a\nb": (4, 4)}), "is not possible"),
    "a long name": (report({"x" * 70_000: (4, 4)}), "is not possible"),
    "too many": (report({f"m{each}": (1, 1) for each in range(20_001)}), "20001 matrices"),
    "a long digest": (report(digest=b"x" * 1000), "a model digest of 1000 bytes"),
}
OTHER = {
    "another shape": (report({**SHAPES, "m.lora_A.weight": (4, 7)}), "(m.lora_A.weight)"),
    "one more": (report({**SHAPES, "more": (4, 4)}), "(more)"),
    "one less": (report({"m.lora_A.weight": (2, 3)}), "(m.lora_B.weight)"),
    "weights": (report({}, weights=SHAPES), "other shapes than this client's model"),
    "other weights": (report(digest=b"\2" * 32), "has the weights 0202020202020202…"),
    "unknown weights": (report(digest=b""), "has the weights unknown…"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_run_can_train_is_refused(what):
    """The reason is one short sentence, whatever the client has sent."""
    told, reason = IMPOSSIBLE[what]

    with pytest.raises(Disagreement) as refused:
        reported_space(told, "tiny")

    assert reason in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("what", OTHER)
def test_another_base_model_is_refused(what):
    """The reason says what differs from the run."""
    told, reason = OTHER[what]

    with pytest.raises(Disagreement) as refused:
        check_same_space(OURS, reported_space(told, "tiny"))

    assert reason in str(refused.value)


def test_the_same_base_model_is_let_in():
    """Whatever order the matrices come in."""
    told = report(dict(reversed(SHAPES.items())))

    check_same_space(OURS, reported_space(told, "tiny"))

    assert reported_space(told, "tiny") == OURS


@given(examples=st.integers(0, 2**64 - 1))
def test_examples_are_counted_within_bounds(examples):
    """A count that no client can hold is refused: it would be all the weight in the mean."""
    possible = 1 <= examples <= 1 << 40

    try:
        check_examples(examples)
    except Disagreement:
        assert not possible
    else:
        assert possible
