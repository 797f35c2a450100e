"""The bench: a client that fails sits out some rounds, and a round that fails is followed by a pause.

Both follow from the journal alone, so that a run which is resumed decides as the undisturbed one would.
The first failure costs one round, each further one in a row twice as many as the one before, up to eight;
an accepted update clears it. A client whose bench is over is on trial until then: a round that has no
quorum of its own does not count on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

LONGEST = 8
"""Rounds that a client sits out at most."""

_FIRST_PAUSE_S, _GROWTH, _LONGEST_PAUSE_S = 5.0, 4.0, 300.0


@dataclass(frozen=True)
class Bench:
    """A client that has failed since its last accepted update.

    failures: in a row; until: the first round that it may take part in again; reason: of the last one.
    """

    failures: int
    until: int
    reason: str = ""


def after_failure(before: Bench | None, following: int, reason: str) -> Bench:
    """Return the bench after one more failure; following: the next round that can be planned."""
    failures = 1 if before is None else before.failures + 1
    rounds = LONGEST if failures > LONGEST else min(LONGEST, 2 ** (failures - 1))
    return Bench(failures, following + rounds, reason)


def is_benched(benches: Mapping[str, Bench], client: str, number: int) -> bool:
    """Whether a client sits out round `number`."""
    return client in benches and number < benches[client].until


def off_the_bench(
    benches: Mapping[str, Bench], clients: Iterable[str], number: int, fewest: int
) -> tuple[str, ...]:
    """Return who of these clients may be planned with, sorted: who is not benched in round `number`.

    Where they are fewer than `fewest`, those who are nearest to their bench's end come back early.
    """
    ordered = sorted(clients)
    free = [each for each in ordered if not is_benched(benches, each, number)]
    sitting = [each for each in ordered if is_benched(benches, each, number)]
    sitting.sort(key=lambda each: (benches[each].until, each))
    return tuple(sorted([*free, *sitting[: max(0, fewest - len(free))]]))


def on_trial(benches: Mapping[str, Bench], clients: Collection[str]) -> tuple[str, ...]:
    """Return who of these has failed since its last accepted update, sorted."""
    return tuple(sorted(each for each in clients if each in benches))


def pause_s(failed_in_a_row: int) -> float:
    """Return the seconds from the plan of a failed round, after which the next one may be planned.

    They grow with the failed rounds in a row, so that clients which fail at once do not use up a run's
    rounds within a moment; a round that took longer is followed by no pause.
    """
    if failed_in_a_row < 1:
        return 0.0
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * _GROWTH ** min(failed_in_a_row - 1, 10))
