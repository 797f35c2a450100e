"""Events on their way into a real journal, many to a transaction."""

from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from antiphon.core import fault_points
from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import ClientJoined, RunStarted
from antiphon.core.journal import Journal
from antiphon.server.coordinator.submissions import Ended, Submissions
from antiphon.server.federation import Federation


@pytest.fixture
def federation(new_federation):
    """A federation that has been told nothing yet."""
    with new_federation() as made:
        yield made


@asynccontextmanager
async def submitting(federation: Federation, heard: list | None = None):
    """Submissions at work."""
    with ThreadPoolExecutor(1) as thread:
        made = Submissions(federation, thread, (heard if heard is not None else []).append)
        running = asyncio.ensure_future(made.run())
        try:
            yield made, running
        finally:
            running.cancel()
            await asyncio.wait([running])


def joined(name: str):
    return lambda: ClientJoined(name, 10)


def in_journal(federation: Federation) -> list:
    with Journal.reading(federation.folder.journal_file) as journal:
        return [each.event for each in journal.read()]


def commits(monkeypatch) -> list[str]:
    """Count the transactions from now on."""
    counted: list[str] = []
    monkeypatch.setattr(fault_points, "_hooks", [counted.append])
    return counted


def test_what_submit_returns_is_in_the_journal(federation):
    """Whoever awaits a submission may acknowledge: another process can read it."""

    async def scenario():
        async with submitting(federation) as (submissions, _):
            submitted = await submissions.submit(joined("north"))
            return submitted.event, in_journal(federation)

    event, events = asyncio.run(scenario())

    assert events == [event] == [ClientJoined("north", 10)]


def test_the_event_loop_sees_what_is_committed_only(federation):
    """While a transaction is under way, the state that the event loop reads is that of the one before."""

    async def scenario():
        async with submitting(federation) as (submissions, _):
            seen = []

            def look():
                seen.append((set(submissions.machine.clients), set(federation.machine.clients)))
                return ClientJoined("south", 10)

            first, second = submissions.submit(joined("north")), submissions.submit(look)
            await asyncio.gather(first, second)
            return seen, set(submissions.machine.clients)

    seen, after = asyncio.run(scenario())

    assert seen == [(set(), {"north"})]
    assert after == {"north", "south"}


def test_many_submissions_are_few_commits(federation, monkeypatch):
    """A hundred clients that come at once do not wait for the disk a hundred times."""
    counted = commits(monkeypatch)

    async def scenario():
        async with submitting(federation) as (submissions, _):
            names = [f"client-{number}" for number in range(100)]
            await asyncio.gather(*(submissions.submit(joined(name)) for name in names))

    asyncio.run(scenario())

    assert counted.count("events committed") <= 3
    assert len(in_journal(federation)) == 100


def test_a_source_that_raises_costs_only_itself(federation):
    """Its caller gets the error; those beside it in the transaction are written."""

    def broken():
        raise UpdateError("broken")

    async def scenario():
        async with submitting(federation) as (submissions, _):
            sources = [joined("north"), broken, joined("south")]
            return await asyncio.gather(*map(submissions.submit, sources), return_exceptions=True)

    answers = asyncio.run(scenario())

    assert isinstance(answers[1], UpdateError)
    assert in_journal(federation) == [ClientJoined("north", 10), ClientJoined("south", 10)]


def test_actions_are_heard_though_the_caller_is_gone(federation):
    """A call that was cut off has still happened: what follows from it is done."""
    heard: list = []

    async def scenario():
        async with submitting(federation, heard) as (submissions, _):
            started = RunStarted("run", "", rounds=1, min_clients=1, max_failed_rounds=3)
            await submissions.submit(lambda: started)
            cut = asyncio.ensure_future(submissions.submit(joined("north")))
            await asyncio.sleep(0)
            cut.cancel()
            await submissions.submit(joined("south"))

    asyncio.run(scenario())

    assert [len(actions) for actions in heard] == [0, 1, 0]


def test_a_full_disk_ends_it(federation, monkeypatch):
    """What could not be written is acknowledged to nobody, and nothing is written after it."""

    def full(step):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(fault_points, "_hooks", [full])

    async def scenario():
        async with submitting(federation) as (submissions, running):
            both = [submissions.submit(joined(name)) for name in ("north", "south")]
            answers = await asyncio.gather(*both, return_exceptions=True)
            await asyncio.wait([running], timeout=5.0)
            with pytest.raises(Ended):
                await submissions.submit(joined("east"))
            return answers, running.exception()

    answers, error = asyncio.run(scenario())

    assert [type(each) for each in (*answers, error)] == [OSError] * 3
    assert in_journal(federation) == []


def test_a_journal_on_a_full_disk_is_said_in_words(federation, monkeypatch):
    """The error that ends the run names the disk."""
    federation._journal._connection.execute("PRAGMA max_page_count = 1")
    source = [ClientJoined("x" * 100_000, 10)]

    with pytest.raises(RunFolderError, match="disk is full"):
        federation.submit_many(source)


def test_what_waits_when_it_closes_is_ended(federation, monkeypatch):
    """A submission behind one that is being written hears that nothing more is written."""
    reached, go_on = threading.Event(), threading.Event()

    def slow(step):
        reached.set()
        assert go_on.wait(10.0)

    monkeypatch.setattr(fault_points, "_hooks", [slow])

    async def scenario():
        async with submitting(federation) as (submissions, running):
            first = asyncio.ensure_future(submissions.submit(joined("north")))
            await asyncio.to_thread(reached.wait, 10.0)
            second = asyncio.ensure_future(submissions.submit(joined("south")))
            await asyncio.sleep(0)
            running.cancel()
            answers = await asyncio.gather(first, second, return_exceptions=True)
            go_on.set()
            return answers

    answers = asyncio.run(scenario())

    assert [type(each) for each in answers] == [Ended, Ended]
