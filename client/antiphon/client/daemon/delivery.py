"""Updates on their way from the outbox to the coordinator, until each has a final answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from antiphon.client.daemon.calls import CallRefused, Gone, HandInAgain, StartOver
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.outbox import Outbox, Queued
from antiphon.client.daemon.policy import SitePolicy, upload_refused
from antiphon.client.reason import Reason
from antiphon.core import fault_points
from antiphon.core.errors import AntiphonError
from antiphon.v1 import coordinator_pb2 as pb

log = structlog.get_logger()

UNANSWERED = "UNANSWERED"
"""No verdict of the coordinator's: the update waits in the outbox."""

_Verdict = pb.SubmitUpdateResponse
_LONGEST_PAUSE_S = 30.0
_MOST_AGAIN = 3  # a member whose update sends it back to Hello as often gives the update up


class Withheld(AntiphonError):
    """The owner's policy lets an update leave no more; it is dropped. code: for the coordinator."""

    def __init__(self, reason: Reason) -> None:
        """reason: the first one that holds."""
        super().__init__(reason.text)
        self.code = reason.code


class Delivery:
    """Hands in what the outbox holds; the same bytes each time."""

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        metrics: Metrics,
        today: Callable[[], str],
        policy: Callable[[], SitePolicy],
        patience_s: float = 120.0,
    ) -> None:
        """today: the local date, YYYY-MM-DD; policy: that of now; patience_s: how long an answer
        to an update is waited for before the client goes on with its other work; it stays in the outbox
        then.
        """
        self._patience_s = patience_s
        self._link, self._outbox, self._metrics, self._today = link, outbox, metrics, today
        self._policy = policy
        self._again: Counter[Queued] = Counter()
        self.submitting = False
        self._count()

    def keep(self) -> None:
        """Note that something was put into the outbox."""
        self._count()

    async def hand_in_all(self, run_id: str, *, joined: bool = True) -> None:
        """Hand in every update of a run that waits, the oldest first. Raises StartOver and NotAllowed."""
        for entry in self._outbox.entries():
            if entry.run_id == run_id:
                with suppress(Withheld):  # it is logged
                    await self.hand_in(entry, joined=joined)

    async def hand_in(self, entry: Queued, *, joined: bool = True) -> str:
        """Hand in an update, with its blob where that is wanted; return the verdict's name.

        It leaves the outbox with the final answer; without one in time, it stays there (UNANSWERED).
        Raises StartOver and NotAllowed, and keeps it then; Withheld where the policy forbids it by now, and
        drops it. joined: this client is a member; while it is
        not, UNKNOWN is no final answer.
        """
        try:
            verdict, reason = await self._answered(entry)
        except (CallRefused, Gone) as refused:
            verdict, reason = "REJECTED", str(refused)
        except StartOver as error:
            self._again[entry] += joined
            if self._again[entry] < _MOST_AGAIN:
                raise
            verdict, reason = "REJECTED", str(error)
        except Withheld as withheld:
            log.warning("an update is withheld", round=entry.round, reason=str(withheld))
            self._drop(entry)
            raise
        except TimeoutError:
            log.warning("no answer to an update yet: it is kept", round=entry.round)
            return UNANSWERED
        if verdict == "UNKNOWN" and not joined:
            return verdict
        say = log.info if verdict in ("ACCEPTED", "DUPLICATE") else log.warning
        say("update handed in", round=entry.round, verdict=verdict, reason=reason)
        fault_points.reached("update submitted")
        self._drop(entry)
        return verdict

    def _drop(self, entry: Queued) -> None:
        self._outbox.remove(entry.run_id, entry.round)
        self._count()

    async def _answered(self, entry: Queued) -> tuple[str, str]:
        asked = 0
        while True:
            if entry.blob is None:  # the update is all in the message
                self._allow(entry, len(entry.message))
                self._outbox.note_sent(self._today(), len(entry.message))
            with self._in_submission():
                async with asyncio.timeout(self._patience_s):
                    response = await self._link.submit_update(entry.message)
            if response.verdict != _Verdict.UPLOAD_FIRST:
                return _name(response.verdict), response.reason
            if entry.blob is None:
                return "REJECTED", "the coordinator wants a blob that the update does not name"
            if asked:  # it has arrived, and is wanted again: the coordinator may have lost its disk
                await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.5 * 2.0**asked))
            asked += 1
            try:
                await self._upload(entry)
            except HandInAgain as again:
                log.info("upload not expected: handing in again", reason=str(again))

    async def _upload(self, entry: Queued) -> None:
        assert entry.blob is not None
        sent = 0

        def allow(missing: int) -> None:
            self._allow(entry, missing, sent)

        def count(size: int) -> None:
            nonlocal sent
            sent += size

        try:
            await self._link.upload(
                entry.run_id, entry.blob, self._outbox.path_of(entry.blob), count, allow
            )
        finally:
            if sent:
                self._outbox.note_sent(self._today(), sent)

    def _allow(self, entry: Queued, sending: int, sent: int = 0) -> None:
        """Ask the policy before an attempt. sending: bytes that it takes; sent: by those before it."""
        size = entry.blob.bytes if entry.blob else len(entry.message)
        today = self._outbox.sent_on(self._today()) + sent
        for reason in upload_refused(self._policy(), size, sending, today):
            raise Withheld(reason)

    @contextmanager
    def _in_submission(self) -> Iterator[None]:
        """While the answer may be under way, the round's end is no reason to break off."""
        self.submitting = True
        try:
            yield
        finally:
            self.submitting = False

    def _count(self) -> None:
        self._metrics.outbox.set(len(self._outbox.entries()))


def _name(verdict: int) -> str:
    try:
        return _Verdict.Verdict.Name(verdict)
    except ValueError:
        return str(verdict)  # of a newer coordinator
