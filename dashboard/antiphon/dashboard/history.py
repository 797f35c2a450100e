"""A run's journal as far as it has been read; what is appended later is read on top.

The run is told as in the report (server/report/chronicle.py). Beside it stands what a report does not
tell: what each client's machine is, and when it was heard last.
"""

from __future__ import annotations

from antiphon.core import events
from antiphon.core.types import Plain
from antiphon.dashboard.reading import BEGINNING, News
from antiphon.server.report.chronicle import Chronicle


class History:
    """One journal's content, growing. It belongs to one thread at a time."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self.chronicle = Chronicle()
        self.place = BEGINNING
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.described: dict[str, dict[str, Plain]] = {}
        self.heard_at: dict[str, float] = {}

    def take(self, news: News) -> None:
        """Take in what was appended."""
        for entry in news.entries:
            self.chronicle.read(entry)
            self._hear(entry.event, entry.at_s)
            self.first_at = entry.at_s if self.first_at is None else self.first_at
            self.last_at = entry.at_s
        self.place = news.place

    def _hear(self, event: events.Event, now: float) -> None:
        match event:
            case (
                events.ClientJoined()
                | events.UpdateReceived()
                | events.UpdateRejected()
                | events.AnswerReceived()
                | events.ClientFailed()
                | events.Evaluated()
            ):
                self.heard_at[event.client] = now
            case events.ClientDescribed():
                self.described[event.client] = dict(event.facts)
                self.heard_at[event.client] = now
