"""What the daemon's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.client.daemon.stage import (
    Stage,
)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A client of its own for each test."""
    return Stage(tmp_path)
