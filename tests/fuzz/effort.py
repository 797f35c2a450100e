"""How much a decoder is fuzzed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Until one of the two is used up. executions: inputs tried, 0: no limit; seconds: likewise.

    With a number of executions alone, the same inputs are tried each time; a time limit begins anywhere.
    """

    executions: int = 0
    seconds: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an effort without an end."""
        if not (self.executions or self.seconds):
            raise ValueError("a fuzzing needs a number of executions or of seconds")
