"""What a process notes in the ledger: each message before it leaves, its answer, and counted calls.

A client waits for work with a call after the other, day and night. They are counted: a line before the
first of them, and one with their number when ten minutes are over, or the process ends. One that is
killed leaves a line without a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from antiphon.client.sent.entries import NO_ANSWER, Conclusion, Sending
from antiphon.client.sent.ledger import LedgerError, SentLedger

log = structlog.get_logger()

WINDOW_S = 600.0
"""How long calls are counted together, seconds."""


def sent_folder(client: Path) -> Path:
    """Return where a client keeps its ledger, below `client/` of its home folder."""
    return client / "sent"


@dataclass
class _Window:
    number: int
    until: float
    calls: int = 0
    bytes: int = 0
    answered: int = 0


@dataclass(frozen=True)
class Noted:
    """A message that may leave now. number: of its line."""

    number: int
    window: _Window | None = None


class Book:
    """One process's way into the ledger; to be closed at its end."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        """folder: of the ledger; now: seconds since the Unix epoch. Raises LedgerError."""
        self._ledger, self._now = SentLedger(folder, now), now
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def begin(self, sending: Sending, *, counted: bool = False) -> Noted:
        """Note what is about to leave. Raises LedgerError: then it must not leave."""
        self._close_windows(lambda each: each.until <= self._now())
        if not counted:
            return Noted(self._ledger.add(sending))
        key = (sending.to, sending.method, sending.run)
        window = self._windows.get(key)
        if window is None:
            until = self._now() + WINDOW_S
            opened = replace(sending, round=None, bytes=None, until=until)
            window = self._windows[key] = _Window(self._ledger.add(opened), until)
        window.calls += 1
        window.bytes += sending.bytes or 0
        return Noted(window.number, window)

    def end(self, noted: Noted, verdict: str, size: int) -> None:
        """Note what became of it. Never raises: it has left, and the next message will not."""
        if noted.window is None:
            self._note(Conclusion(noted.number, verdict, size))
        else:
            noted.window.answered += verdict != NO_ANSWER

    def close(self) -> None:
        """Note how many calls were counted, and say in the log where the ledger ends."""
        self._close_windows(lambda each: True)
        self.say_where()

    def say_where(self) -> None:
        """Log the number and hash of the last line: a log that is kept elsewhere is a witness."""
        try:
            head = self._ledger.head()
        except LedgerError as error:
            log.error("the ledger of what leaves cannot be read", reason=str(error))
        else:
            log.info("the ledger of what leaves", anchor=f"{head.count}:{head.sha256}")

    def _close_windows(self, over: Callable[[_Window], bool]) -> None:
        for key, window in list(self._windows.items()):
            if over(window):
                del self._windows[key]
                verdict = f"{window.answered} of {window.calls} answered"
                self._note(Conclusion(window.number, verdict, window.bytes, window.calls))

    def _note(self, answer: Conclusion) -> None:
        try:
            self._ledger.add(answer)
        except LedgerError as error:
            log.error("an answer is not in the ledger", of=answer.of, reason=str(error))
