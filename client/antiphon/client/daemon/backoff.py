"""How long to wait before trying again: exponential backoff with full jitter.

The n-th wait in a row is drawn from U(0, min(cap, base · 2ⁿ)). A thousand clients that lose the same
coordinator at the same moment come back spread over time, not together.
"""

from __future__ import annotations

from random import Random

_LONGEST_HINT_S = 3600.0


class Backoff:
    """Waits that grow with each failure until a call succeeds."""

    def __init__(self, rng: Random, *, base_s: float = 1.0, cap_s: float = 60.0) -> None:
        """Begin without a failure. base_s: upper end of the first wait; cap_s: of the longest."""
        self._rng, self._base_s, self._cap_s = rng, base_s, cap_s
        self.failures = 0

    def delay_s(self, hint_s: float | None = None) -> float:
        """Note a failure and return the seconds to wait.

        hint_s: what the coordinator asked for, if it did; it is taken as it is, an hour at most.
        """
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        if hint_s is not None:
            return min(hint_s, _LONGEST_HINT_S)
        return self._rng.uniform(0.0, ceiling)

    def another(self) -> Backoff:
        """Return one of the same kind, without a failure."""
        return Backoff(self._rng, base_s=self._base_s, cap_s=self._cap_s)

    def reset(self) -> None:
        """A call has succeeded: the next wait is a short one."""
        self.failures = 0
