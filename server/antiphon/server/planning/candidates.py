"""What clients say of their base models before the run is open: enough that say the same open it.

Who joins first may lie. What one alone says opens nothing where the run waits for more than one, and keeps
nobody out: a vote is a hash, a client has one, and its last word replaces the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

_MOST: Final = 100_000
_FORGOTTEN_S: Final = 60.0


class _Vote(NamedTuple):
    claim: str
    at_s: float


class Candidates:
    """The votes. needed: how many must say the same."""

    def __init__(self, needed: int, now: Callable[[], float]) -> None:
        """now: seconds of any zero; who has not called for a minute does not count any more."""
        self.needed, self._now = needed, now
        self._votes: dict[str, _Vote] = {}

    def hear(self, name: str, claim: str) -> bool:
        """Take a candidate's word; False: it has said the same before. The oldest is dropped for room."""
        before = self._votes.pop(name, None)
        self._votes[name] = _Vote(claim, self._now())
        while len(self._votes) > _MOST:
            del self._votes[next(iter(self._votes))]
        return before is None or before.claim != claim

    def having(self, claim: str) -> int:
        """Return how many say this now."""
        return self.claims().get(claim, 0)

    def agree(self, claim: str) -> bool:
        """Whether enough say this now."""
        return self.having(claim) >= self.needed

    def keep(self, names: Collection[str]) -> None:
        """Forget all but these."""
        self._votes = {name: vote for name, vote in self._votes.items() if name in names}

    def claims(self) -> Mapping[str, int]:
        """Return by claim how many say it now, the most frequent first."""
        oldest = self._now() - _FORGOTTEN_S
        votes = list(self._votes.values())  # at once: the status is asked for in another thread
        return dict(Counter(vote.claim for vote in votes if vote.at_s >= oldest).most_common())
