"""What a client must have in common with a run, at the coordinator's door and on Flower."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.config import RunConfig, validate
from antiphon.core.space import SpaceShapes
from antiphon.server.planning.agreement import (
    Disagreement,
    check_examples,
    check_same_space,
    claim_of,
    reported_space,
    votes_needed,
)
from antiphon.v1 import coordinator_pb2 as pb

A, B = ".lora_A.weight", ".lora_B.weight"
SHAPES = {f"m{A}": (2, 3), f"m{B}": (4, 2)}
WEIGHTS = {"m": (4, 3)}
OURS = SpaceShapes(SHAPES, {}, "tiny", 26, "01" * 32)


def config(targets: list[str] | str = "all-linear", **changes) -> RunConfig:
    return validate(
        {
            "name": "one",
            "rounds": 1,
            "model": {"model_name_or_path": "tiny"},
            "data": {"dataset": "d", "format": "alpaca"},
            "lora": {"r": 2, "target_modules": targets},
            "seeds": {"target_modules": targets},
            **changes,
        }
    )


LORA, SEEDS = config(), config(method="seeds")


def report(shapes=SHAPES, digest: bytes = b"\1" * 32, weights=()) -> pb.SpaceReport:
    told = pb.SpaceReport(model_parameters=26, model_digest=digest)
    for name, (rows, columns) in shapes.items():
        told.factors.add(name=name, rows=rows, columns=columns)
    for name, (rows, columns) in dict(weights).items():
        told.weights.add(name=name, rows=rows, columns=columns)
    return told


def named_twice() -> pb.SpaceReport:
    told = report()
    told.factors.add(name=f"m{A}", rows=2, columns=9)
    return told


def many(count: int) -> dict[str, tuple[int, int]]:
    return {f"m{each}{end}": (2, 2) for each in range(count) for end in (A, B)}


IMPOSSIBLE = {
    "nothing": (report({}), LORA, "the run trains factors: expected their shapes"),
    "both": (report(weights=WEIGHTS), LORA, "the run trains factors"),
    "weights for an adapter": (report({}, weights=WEIGHTS), LORA, "the run trains factors"),
    "factors for weights": (report(), SEEDS, "the run trains weights"),
    "an empty matrix": (report({"a": (0, 4)}), LORA, "matrix 'a' of 0 × 4 is not possible"),
    "a giant matrix": (report({"a": (2**31, 4)}), LORA, "is not possible"),
    "giant weights": (report({}, weights={"a": (4, 2**31)}), SEEDS, "is not possible"),
    "giant together": (
        report({}, weights={f"m{each}": (2**20, 2**20) for each in range(17)}),
        SEEDS,
        "numbers to train",
    ),
    "no name": (report({"": (4, 4)}), LORA, "is not possible"),
    "a name of lines": (report({"a\nb": (4, 4)}), LORA, "is not possible"),
    "a long name": (report({"x" * 70_000: (4, 4)}), LORA, "is not possible"),
    "too many": (report(many(10_001)), LORA, "20002 matrices"),
    "a long digest": (report(digest=b"x" * 1000), LORA, "a model digest of 1000 bytes"),
    "a factor without a pair": (report({"x": (4, 64)}), LORA, "factor 'x': expected a name"),
    "half a pair": (report({f"m{A}": (2, 3)}), LORA, "has no pair"),
    "another rank": (report({f"m{A}": (3, 3), f"m{B}": (4, 3)}), LORA, "the ranks 3 and 3"),
    "two ranks": (report({f"m{A}": (2, 3), f"m{B}": (4, 3)}), LORA, "the ranks 2 and 3"),
    "no module": (report({A: (2, 3), B: (4, 2)}), LORA, "without a name"),
    "a module of dots": (report({f"..{A}": (2, 3), f"..{B}": (4, 2)}), LORA, "no module's name"),
    "two pairs": (
        report({**SHAPES, f"base_model.model.m{A}": (2, 3), f"base_model.model.m{B}": (4, 2)}),
        LORA,
        "has two pairs",
    ),
    "a name twice": (named_twice(), LORA, "named twice"),
    "another module": (report(), config(["q"]), "module 'm', but target_modules is q"),
    "a target that is nowhere": (report(), config(["m", "q"]), "no module ends in 'q'"),
    "weights of another module": (
        report({}, weights=WEIGHTS),
        config(["q"], method="seeds"),
        "module 'm'",
    ),
}
OTHER = {
    "another shape": (report({f"m{A}": (2, 7), f"m{B}": (4, 2)}), "(m.lora_A.weight)"),
    "one more": (report({**SHAPES, f"o{A}": (2, 3), f"o{B}": (4, 2)}), "(o.lora_A.weight, o"),
    "other weights": (report(digest=b"\2" * 32), "has the weights 0202020202020202…"),
    "unknown weights": (report(digest=b""), "has the weights unknown…"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_run_can_train_is_refused(what):
    """The reason is one short sentence, whatever the client has sent."""
    told, run, reason = IMPOSSIBLE[what]

    with pytest.raises(Disagreement) as refused:
        reported_space(told, run)

    assert reason in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("what", OTHER)
def test_another_base_model_is_refused(what):
    """The reason says what differs from the run."""
    told, reason = OTHER[what]

    with pytest.raises(Disagreement) as refused:
        check_same_space(OURS, reported_space(told, LORA))

    assert reason in str(refused.value)


def test_the_same_base_model_is_let_in():
    """Whatever order the matrices come in."""
    told = report(dict(reversed(SHAPES.items())))

    check_same_space(OURS, reported_space(told, LORA))

    assert reported_space(told, LORA) == OURS


@given(examples=st.integers(0, 2**64 - 1))
def test_examples_are_counted_within_bounds(examples):
    """A count that no client can hold is refused: it would be all the weight in the mean."""
    possible = examples <= 1 << 40  # 0: the client does not tell

    try:
        check_examples(examples)
    except Disagreement:
        assert not possible
    else:
        assert possible


def test_a_claim_is_all_that_is_said():
    """Another shape, digest or size of the model is another claim; the order of the matrices is none."""
    told = report(dict(reversed(SHAPES.items())))
    bigger = report()
    bigger.model_parameters = 27

    claims = [
        claim_of(reported_space(each, LORA))
        for each in (report(), told, bigger, OTHER["other weights"][0])
    ]

    assert claims[0] == claims[1]
    assert len(set(claims)) == 3


@given(clients=st.integers(1, 10_000))
def test_half_of_the_clients_open_no_run(clients):
    """Two claims can never both have the votes that are needed; all together have them."""
    needed = votes_needed(clients)

    assert clients < 2 * needed
    assert needed <= clients
