"""The server's half of a method as a value: what it keeps, how it folds, what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from antiphon.core.coefficients import Download
from antiphon.core.types import Assignment, Params, State, Update


@dataclass(frozen=True)
class Folded:
    """The state after a round and what the journal keeps of it.

    undone: the round's losses had exploded, so that `state` is the one before the last fold and the
    round's updates were dropped; held_back: clients whose updates counted less than they asked for.
    """

    state: State
    report: Mapping[str, float]
    undone: bool = False
    held_back: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerMethod:
    """Pure functions on a flat state.

    init(params) → state before the first round; `params` are the adapter's factors (`lora`).
    check(state, update, assignment) raises UpdateError where an update is not what the assignment
    asked for: call it when the update arrives, so that one bad update costs one client and not the
    round. fold(state, updates, learning_rate) → Folded; the order of the updates changes no bit.
    download(state, r) → what a client of rank r receives; `seeds` ignores r.
    """

    init: Callable[[Params], State]
    check: Callable[[State, Update, Assignment], None]
    fold: Callable[[State, Iterable[Update], float], Folded]
    download: Callable[[State, int], Download]


def in_order(updates: Iterable[Update]) -> list[Update]:
    """Return updates in client order, the order in which everything is summed."""
    return sorted(updates, key=lambda update: update.client)
