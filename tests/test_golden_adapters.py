"""What the house computes does not change when its shape does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.golden.adapters import FILE, MODEL, TINY, Golden, ending, instructions

KEPT = json.loads(FILE.read_text())


def check(run: str, got: Golden) -> None:
    """The norm is the kept one; so are the bits, where a processor has the same instructions."""
    kept = KEPT["endings"][run]
    assert got.norm == pytest.approx(kept["norm"], rel=1e-3)
    assert got.sha256 == kept["sha256"] or instructions() != KEPT["instructions"]


@pytest.mark.slow
@pytest.mark.parametrize("run", TINY)
def test_a_short_run_ends_with_the_adapter_that_was_kept(run: str, tmp_path: Path) -> None:
    """Each method trains, sends and folds the tiny model to the numbers that it always did."""
    check(run, ending(*TINY[run], tmp_path))


@pytest.mark.model
@pytest.mark.nightly
@pytest.mark.parametrize("run", MODEL)
def test_a_run_of_the_real_model_ends_with_the_adapter_that_was_kept(
    run: str, tmp_path: Path
) -> None:
    """The examples, cut short, end on the real small model with the numbers that they always did."""
    check(run, ending(*MODEL[run], tmp_path))
