"""What is due in virtual time, in an order that depends on nothing but the times and the names.

An assignment that is taken back takes what it has on the agenda with it. It is known by the moment at
which it was given, so that one that is given again to the same client has nothing to do with the first.
"""

from __future__ import annotations

import heapq
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum

from antiphon.core.events import TRAINING
from antiphon.simulation.packing import PackedUpdate


class Moment(IntEnum):
    """What happens: a client comes or goes, or its assignment is this far."""

    CHANGED = 0
    DOWNLOADED = 1
    DIED = 2
    TRAINED = 3
    PACKED = 4
    DELIVERED = 5
    ASKED = 6
    ANSWERED = 7


@dataclass(frozen=True)
class Given:
    """An assignment that a client has.

    number: its round; at: virtual seconds when it was given; bytes_down: of its message and its model;
    frames_down: of what stands still beside it, which goes to each client once; exchange: of the round;
    message: the assignment, or what another exchange asks, as it was sent.
    """

    client: str
    number: int
    at: float
    bytes_down: int
    exchange: str = TRAINING
    message: bytes = b""
    frames_down: int = 0


@dataclass(frozen=True, order=True)
class Due:
    """One thing that is due.

    when: virtual seconds; given: none where a client comes or goes; packing: what is sent, packed by
    another thread: nobody waits for it as long as others do something at that very moment.
    """

    when: float
    waits: bool = field(init=False)
    client: str
    stage: Moment
    given: Given | None = field(default=None, compare=False)
    packing: Future[PackedUpdate] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Say whether it waits for a thread."""
        object.__setattr__(self, "waits", self.stage is Moment.PACKED)


class Agenda:
    """A queue by time, then name, then stage; what waits for a thread comes last of its time."""

    def __init__(self) -> None:
        """Nothing is due."""
        self._due: list[Due] = []
        self._given: dict[tuple[str, int], Given] = {}

    def give(self, given: Given) -> None:
        """Take note of an assignment; what is added for it counts until it is taken back."""
        self._given[given.client, given.number] = given

    def take_back(self, client: str, number: int | None = None) -> None:
        """Drop what is due for a client's assignment; none: for all of them."""
        ended = [k for k in self._given if k[0] == client and number in (None, k[1])]
        for key in ended:
            del self._given[key]

    def add(self, due: Due) -> None:
        """Put something on the agenda."""
        heapq.heappush(self._due, due)

    def next_at(self) -> float | None:
        """Return when the next thing is due; none: nothing is."""
        while self._due and not self._counts(self._due[0]):
            heapq.heappop(self._due)
        return self._due[0].when if self._due else None

    def pop(self) -> Due:
        """Return the next thing, after `next_at` has said that there is one."""
        return heapq.heappop(self._due)

    def _counts(self, due: Due) -> bool:
        given = due.given
        return given is None or self._given.get((given.client, given.number)) is given
