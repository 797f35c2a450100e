"""Whose folds a run's model is of, as folds, the guard's undoing and rewinding follow each other.

The guard takes back the newest fold, and then none before there is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class _Point:
    """The model after a round. before: the round of the model that an undo would restore; none: no undo."""

    model: int = 0
    before: int | None = None
    undone: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Lineage:
    """Which rounds' models stand. after: each round's point; rewound: rounds that a run went back from."""

    now: _Point = _Point()
    after: Mapping[int, _Point] = field(default_factory=dict)
    rewound: frozenset[int] = frozenset()

    @property
    def undone(self) -> frozenset[int]:
        """The rounds whose model does not stand any more."""
        return self.now.undone | self.rewound

    def folded(self, number: int) -> Lineage:
        """Return the lineage after a round's fold."""
        return self._at(number, replace(self.now, model=number, before=self.now.model))

    def undid(self, number: int) -> Lineage:
        """Return the lineage after a round in which the guard took the newest fold back."""
        now = self.now
        if now.before is None:
            return self._at(number, now)
        return self._at(number, _Point(now.before, None, now.undone | {now.model}))

    def went_back(self, number: int) -> Lineage:
        """Return the lineage after a run went back to the model as it was after a round (0: untouched)."""
        later = frozenset(each for each in self.after if each > number)
        now = self.after.get(number, _Point())
        return replace(self, now=now, rewound=self.rewound | later)

    def _at(self, number: int, point: _Point) -> Lineage:
        return replace(self, now=point, after={**self.after, number: point})
