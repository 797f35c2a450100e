"""What the house computes does not change when its shape does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.golden.adapters import FILE, TINY, ending, instructions

KEPT = json.loads(FILE.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("run", TINY)
def test_a_short_run_ends_with_the_adapter_that_was_kept(run: str, tmp_path: Path) -> None:
    """It has the norm that was kept, and the bits where a processor has the same instructions."""
    kept = KEPT["endings"][run]

    got = ending(*TINY[run], tmp_path)

    assert got.norm == pytest.approx(kept["norm"], rel=1e-3)
    assert got.sha256 == kept["sha256"] or instructions() != KEPT["instructions"]
