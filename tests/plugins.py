"""Distributions of other people's strategies, installed for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antiphon.core import registry
from antiphon.strategies.bases.base import known_base


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make what lies in `folder` importable, as if it had been installed."""
    _forget()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    _forget()


def write_distribution(folder: Path, name: str, entry_points: str) -> None:
    """Write what pip leaves behind of a distribution, but for its modules."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


def _forget() -> None:
    registry.factory.cache_clear()
    registry._checked.cache_clear()
    known_base.cache_clear()
