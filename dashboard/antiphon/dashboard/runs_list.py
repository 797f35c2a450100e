"""The runs of a folder, each in one line, without reading their journals as a whole.

Most of a journal are updates, measurements and bytes; the first two are passed over here, and the bytes
are added up by SQLite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from antiphon.core.errors import RunFolderError
from antiphon.core.event_json import kind_of
from antiphon.core.events import (
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundUndone,
    RunEnded,
    RunResumed,
    RunRewound,
    RunStarted,
    RunStopped,
)
from antiphon.core.journal import entry_of
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.reading import (
    BEGINNING,
    Bookmark,
    Stamp,
    opened,
    place_at_end,
    place_to_begin,
    stamp_of,
)
from antiphon.dashboard.standing import Life, life_of
from antiphon.server.machine.lineage import Lineage

MOST_RUNS = 200
"""Runs that are listed: those in which something happened last."""

_TELLING = (
    RunStarted,
    RoundFolded,
    RoundUndone,
    RunRewound,
    RoundEvaluated,
    RunResumed,
    RunStopped,
    RunEnded,
)
_KINDS = tuple(kind_of(each) for each in _TELLING)
_FEW = f"""SELECT seq, at_s, kind, body FROM event WHERE seq > ? AND seq <= ?
 AND kind IN ({", ".join("?" * len(_KINDS))}) ORDER BY seq"""
_SUMS = """SELECT max(CASE WHEN kind = 'round_planned' THEN json_extract(body, '$.round') END),
 sum(CASE WHEN kind = 'bytes_moved' THEN json_extract(body, '$.bytes') END) FROM event
 WHERE seq > ? AND seq <= ? AND kind IN ('round_planned', 'bytes_moved')"""

_NO_JSON = "SELECT min(seq) FROM event WHERE seq > ? AND seq <= ? AND NOT json_valid(body)"


@dataclass(frozen=True)
class Summary:
    """What a line says of a run, as far as its journal has been read (place).

    rounds: planned in all; round: the newest that was planned; scores: means after each evaluated round;
    bytes: both ways; end: (complete, reason); lineage: whose folds the model is of.
    """

    place: Bookmark = BEGINNING
    rounds: int | None = None
    round: int = 0
    scores: Mapping[int, Mapping[str, float | None]] | None = None
    bytes: int | None = None
    end: tuple[bool, str] | None = None
    lineage: Lineage = field(default_factory=Lineage)

    def final(self, measure: str) -> float | None:
        """Return a measure of the last evaluated model that was not taken back; none: not measured."""
        known = self.scores or {}
        for number in sorted(known, reverse=True):
            value = known[number].get(measure)
            stands = number not in self.lineage.undone
            if stands and value is not None and math.isfinite(value):
                return value
        return None


@dataclass(frozen=True)
class RunLine:
    """One run of the folder. error: why its journal cannot be read; changed_at: Unix epoch, seconds."""

    name: str
    life: Life
    summary: Summary
    changed_at: float | None
    error: str = ""


class RunsList:
    """The summaries of a folder's runs; a journal that has not grown is not opened again."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: dict[Path, tuple[Stamp, Summary]] = {}

    def lines(self, runs: Path, now: float) -> tuple[RunLine, ...]:
        """Return the runs, the last changed first. now: seconds since the Unix epoch."""
        folders = [RunFolder(each) for each in _folders(runs)]
        stamped = {each: stamp_of(each) for each in folders}
        order = sorted(stamped, key=lambda each: _changed(stamped[each]), reverse=True)
        self._known = {path: known for path, known in self._known.items() if path.exists()}
        return tuple(self._line(each, stamped[each], now) for each in order[:MOST_RUNS])

    def _line(self, folder: RunFolder, stamp: Stamp | None, now: float) -> RunLine:
        name = folder.path.name
        try:
            summary = self._summary(folder, stamp)
        except RunFolderError as error:
            return RunLine(name, "unreadable", Summary(), _changed(stamp), str(error))
        life = life_of(folder, stamp, summary.end, now)
        return RunLine(name, life, summary, stamp.changed_at if stamp else None)

    def _summary(self, folder: RunFolder, stamp: Stamp | None) -> Summary:
        if stamp is None:
            return Summary()
        known = self._known.get(folder.path)
        if known is not None and known[0] == stamp:
            return known[1]
        summary = summarise(folder.journal_file, known[1] if known is not None else Summary())
        self._known[folder.path] = (stamp, summary)
        return summary


def summarise(journal: Path, before: Summary) -> Summary:
    """Return the summary of a journal, `before` being what an earlier reading gave.

    Raises RunFolderError.
    """
    with opened(journal) as connection:
        start, end = place_to_begin(connection, before.place), place_at_end(connection)
        before = before if start == before.place else Summary()  # it is another journal
        _refuse_damage(journal, connection.execute(_NO_JSON, (start.seq, end.seq)).fetchone()[0])
        few = connection.execute(_FEW, (start.seq, end.seq, *_KINDS)).fetchall()
        newest, size = connection.execute(_SUMS, (start.seq, end.seq)).fetchone()
    for row in few:
        before = _after(before, entry_of(journal, row).event)
    moved = before.bytes if size is None else size + (before.bytes or 0)
    return replace(before, place=end, round=max(before.round, newest or 0), bytes=moved)


def _refuse_damage(journal: Path, entry: int | None) -> None:
    """Refuse a journal whose page could not be drawn: events that no line needs are not decoded here."""
    if entry is not None:
        raise RunFolderError(
            f"{journal} is damaged (entry {entry} is not valid JSON): restore it from a copy, or choose "
            "another run"
        )


def _after(before: Summary, event: Event) -> Summary:
    match event:
        case RunStarted():
            return replace(before, rounds=event.rounds)
        case RoundFolded():
            return replace(before, lineage=before.lineage.folded(event.round))
        case RoundUndone():
            return replace(before, lineage=before.lineage.undid(event.round))
        case RunRewound():
            return replace(before, lineage=before.lineage.went_back(event.round), end=None)
        case RoundEvaluated() if event.metrics:
            return replace(before, scores={**(before.scores or {}), event.round: event.metrics})
        case RunResumed():
            return replace(before, end=None, rounds=event.rounds or before.rounds)
        case RunStopped():
            done = event.by_policy and before.lineage.now.model > 0
            return replace(before, end=(done, event.reason))
        case RunEnded():
            return replace(before, end=(event.complete, event.reason))
    return before


def _folders(runs: Path) -> set[Path]:
    """Return the folders of runs; one that was cut off in its first moment has no journal yet."""
    if not runs.is_dir():
        return set()
    files = (runs.glob(f"*/{name}") for name in ("config.yaml", "journal.sqlite"))
    return {file.parent for found in files for file in found}


def _changed(stamp: Stamp | None) -> float:
    return stamp.changed_at if stamp else 0.0
