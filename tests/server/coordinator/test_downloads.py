"""Downloads at once: who gets a place, who loses one, how much they read."""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack
from io import BytesIO

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.coordinator.downloads import (
    BUDGET_BYTES,
    Downloads,
    TooManyDownloads,
    read_ahead,
)


class Desk:
    """Places of a coordinator; `ended` are the connections that were hung up on."""

    def __init__(self, **budgets: int) -> None:
        self.clock = VirtualClock(0.0)
        self.ended: list[str] = []
        self.downloads = Downloads(self.clock.now, self.hang_up, **budgets)

    async def hang_up(self, peer: str) -> None:
        self.ended.append(peer)


def test_places_of_a_client():
    """A client has two downloads at once; a third is refused, another client's is not."""
    desk = Desk()

    with ExitStack() as stack:
        for client in ("edge", "edge", "other"):
            stack.enter_context(desk.downloads.place(client, "peer"))
        with pytest.raises(TooManyDownloads, match="edge has 2 downloads"):
            stack.enter_context(desk.downloads.place("edge", "peer"))


def test_a_place_is_free_again():
    """A download that has ended makes room, however it ended."""
    desk = Desk(each=1)

    for _ in range(2):
        with pytest.raises(ValueError, match="cut"), desk.downloads.place("edge", "peer"):
            raise ValueError("cut")

    assert desk.downloads._of == {}


def crowded(waited_s: float) -> list[str]:
    """Fill the places of a desk, one of which moves; ask for one more; say who is hung up on."""

    async def scenario() -> list[str]:
        desk = Desk(most=2)
        with desk.downloads.place("one", "first"), desk.downloads.place("two", "second") as moved:
            desk.clock.advance_to(waited_s)
            moved()
            for _ in range(2):
                with pytest.raises(TooManyDownloads, match="2 downloads go on"):
                    desk.downloads.place("three", "third").__enter__()
            await asyncio.sleep(0)
        return desk.ended

    return asyncio.run(scenario())


def test_who_does_not_read_loses_the_place():
    """Where all places are taken, a reader that has not moved for ten seconds is hung up on, once."""
    assert crowded(10.0) == ["first"]


def test_slow_readers_keep_their_place():
    """Nobody is hung up on who has moved within ten seconds."""
    assert crowded(9.9) == []


def test_the_more_there_are_the_less_each_reads():
    """All together read ahead no more than their budget, as long as pieces can be made smaller."""
    desk, sizes = Desk(), []

    with ExitStack() as stack:
        for number in range(256):
            stack.enter_context(desk.downloads.place(f"client-{number}", "peer"))
            sizes.append(desk.downloads.piece_bytes())

    assert (sizes[0], sizes[-1]) == (1 << 20, 64 << 10)
    assert all(4 * size * count <= BUDGET_BYTES for count, size in enumerate(sizes[8:128], start=9))


class Closed(BytesIO):
    """A file that is closed as soon as its first piece has been read."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.close()
        return content


def test_a_reader_that_hangs_up_leaves_no_error_behind():
    """The read ahead of it finds the file closed, and nobody is told: it is no defect."""
    unheard: list[dict[str, object]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: unheard.append(told))
        pieces = read_ahead(Closed(b"x" * 100), lambda: 10)
        await anext(pieces)
        await pieces.aclose()
        del pieces
        gc.collect()

    asyncio.run(scenario())

    assert unheard == []
