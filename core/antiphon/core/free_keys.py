"""Keys of a run's config that may change while the run goes on; the others decide what it has done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FREE = frozenset({"rounds", "cohort.deadline_s", "evaluation.deadline_s"})
"""Keys, beside `output`, that may change when a run is resumed."""


def settled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's plain values without the keys that may change."""
    kept = {key: value for key, value in values.items() if key not in ("output", *FREE)}
    for section, _, key in (each.partition(".") for each in FREE):
        if key and isinstance(kept.get(section), Mapping):
            kept[section] = {k: v for k, v in kept[section].items() if k != key}
    return kept
