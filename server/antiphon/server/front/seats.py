"""Places that few may have at once, shared out between networks in turn: whoever comes in numbers waits
for its own.
"""

from __future__ import annotations

from collections.abc import Hashable


class Seats:
    """each, total: places of one network, and of all together."""

    def __init__(self, each: int, total: int) -> None:
        """All places are free."""
        self._each, self._total = each, total
        self._taken: dict[Hashable, str] = {}
        self._of: dict[str, int] = {}  # network: places taken
        self._waiting: dict[str, dict[Hashable, None]] = {}  # by network, who came first in front
        self._turn: dict[str, None] = {}  # networks that wait and may have more, in turn

    def ask(self, who: Hashable, network: str) -> bool:
        """Take a place, or wait for one; `freed` tells when it is there. False: it waits."""
        if self._free() and self._of.get(network, 0) < self._each and network not in self._waiting:
            self._take(who, network)
            return True
        self._waiting.setdefault(network, {})[who] = None
        self._look_at(network)
        return False

    def leave(self, who: Hashable, network: str) -> None:
        """Give a place back, or wait no more."""
        if self._taken.pop(who, None) is not None:
            self._of[network] -= 1
            if not self._of[network]:
                del self._of[network]
        waiting = self._waiting.get(network, {})
        waiting.pop(who, None)
        if not waiting:
            self._waiting.pop(network, None)
        self._look_at(network)

    def freed(self) -> list[Hashable]:
        """Hand out what is free; return who got a place."""
        got = []
        while self._turn and self._free():
            network = next(iter(self._turn))
            del self._turn[network]
            who = next(iter(self._waiting[network]))
            del self._waiting[network][who]
            if not self._waiting[network]:
                del self._waiting[network]
            self._take(who, network)
            self._look_at(network)
            got.append(who)
        return got

    def pressed(self, network: str) -> bool:
        """Return whether somebody waits for the place of one of this network."""
        return network in self._waiting or bool(self._turn)

    def _free(self) -> bool:
        return len(self._taken) < self._total

    def _take(self, who: Hashable, network: str) -> None:
        self._taken[who] = network
        self._of[network] = self._of.get(network, 0) + 1

    def _look_at(self, network: str) -> None:
        if network in self._waiting and self._of.get(network, 0) < self._each:
            self._turn.setdefault(network)
        else:
            self._turn.pop(network, None)
