"""The journals that are being looked at, shared by all open pages: each is read once, then its news."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.gantt import Frame, Span, spans_of
from antiphon.dashboard.history import History
from antiphon.dashboard.learning import Curve, client_curves
from antiphon.dashboard.reading import Stamp, news_of, read_span, stamp_of
from antiphon.dashboard.run_view import RunView, view_of

_MOST_KEPT = 8


@dataclass
class _Kept:
    stamp: Stamp
    history: History
    view: RunView


class Shelf:
    """The newest view of each run that was asked for last. It may be used from several threads."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def view(self, folder: RunFolder) -> RunView | None:
        """Return the view of a run; none: nothing has happened in it, or its folder is gone.

        Raises RunFolderError where its journal cannot be read.
        """
        with self._lock:
            kept = self._newest(folder)
            return kept.view if kept else None

    def curves(self, folder: RunFolder, clients: Sequence[str]) -> tuple[Curve, ...]:
        """Return loss and accuracy of these clients. Raises RunFolderError."""
        with self._lock:
            kept = self._newest(folder)
            return client_curves(kept.history.chronicle, clients) if kept else ()

    def _newest(self, folder: RunFolder) -> _Kept | None:
        stamp, kept = stamp_of(folder), self._kept.get(folder.path)
        if stamp is None:
            self._kept.pop(folder.path, None)
            return None
        if kept is None or kept.stamp != stamp:
            kept = self._read(folder, stamp, kept)
            self._kept[folder.path] = kept
        self._kept.move_to_end(folder.path)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return kept

    def _read(self, folder: RunFolder, stamp: Stamp, kept: _Kept | None) -> _Kept:
        self._kept.pop(folder.path, None)  # a history that was read by half must not be kept
        history = kept.history if kept is not None else History()
        with news_of(folder.journal_file, history.place) as news:
            if kept is not None and news.place == history.place:
                return _Kept(stamp, history, kept.view)
            history = History() if news.anew else history
            history.take(news)
        return _Kept(stamp, history, view_of(history))


def spans(folder: RunFolder, view: RunView, number: int, now: float) -> tuple[Span, ...]:
    """Return who did what in a round of a view. now: on the engine's clock. Raises RunFolderError."""
    shown = view.rounds[number]
    entries = read_span(folder.journal_file, shown.first_seq + 1, shown.last_seq)
    carries_on = shown.planned.max_staleness is not None
    frame = Frame(shown.planned_at, shown.closed_at, carries_on)
    return spans_of(entries, shown.members, frame, now)
