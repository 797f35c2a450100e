"""What the clients of a run were told, what its journal holds, and whether the two agree.

The check of a crash test. It asks no process: it reads the daemons' logs, the journal's rows and the files
of the run, and replays the journal through the round machine of this process.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from antiphon.core.events import RoundFolded, RoundPlanned, UpdateReceived
from antiphon.core.files import sha256_of
from antiphon.core.journal import Entry, Journal
from antiphon.core.run_folder import RunFolder
from antiphon.server.machine.actions import Fold, Reply
from antiphon.server.machine.round import step
from antiphon.server.machine.run_state import RunState


@dataclass(frozen=True)
class Answer:
    """What a client has read of its update: a verdict's name, at seconds since the Unix epoch."""

    client: str
    round: int
    verdict: str
    at_s: float

    @property
    def counts(self) -> bool:
        """Whether the coordinator has acknowledged the update."""
        return self.verdict in ("ACCEPTED", "DUPLICATE")


def answers(client: str, log: str) -> list[Answer]:
    """Return what a daemon was told, from its log (JSON lines; what a kill has cut off is passed over)."""
    return [
        Answer(
            client,
            int(line["round"]),
            line["verdict"],
            datetime.fromisoformat(line["timestamp"]).timestamp(),
        )
        for line in _objects(log)
        if line.get("event") == "update handed in"
    ]


def entries_of(folder: RunFolder) -> list[Entry]:
    """Return the journal as it is on the disk; empty where there is none yet."""
    if not folder.journal_file.exists() or folder.journal_file.stat().st_size == 0:
        return []
    with Journal.reading(folder.journal_file) as journal:
        return list(journal.read())


def violations(
    folder: RunFolder,
    told: Sequence[Answer],
    earlier: Iterable[Sequence[Entry]] = (),
) -> list[str]:
    """Return what is wrong, one sentence each; it may be asked of a run that goes on, while nobody writes.

    earlier: what the journal held at moments before.
    """
    entries = entries_of(folder)
    return [
        *_lost(entries, [answer for answer in told if answer.counts]),
        *_refused(entries, [answer for answer in told if not answer.counts]),
        *_twice(entries),
        *_folds(entries, folder),
        *_order(entries, earlier),
    ]


def differing_models(folder: RunFolder, undisturbed: RunFolder) -> list[str]:
    """Return a sentence for every round whose adapter is not, bit for bit, that of the other run."""
    found = []
    for adapter in sorted((undisturbed.path / "rounds").glob("*/adapter/*")):
        mine = folder.path / adapter.relative_to(undisturbed.path)
        if not mine.exists():
            found.append(f"model: {mine.parts[-3:]} is not there")
        elif mine.read_bytes() != adapter.read_bytes():
            found.append(f"model: {mine.parts[-3:]} differs from the undisturbed run's")
    return found


def _objects(log: str) -> Iterator[Mapping[str, str]]:
    for line in log.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _lost(entries: Sequence[Entry], told: Iterable[Answer]) -> Iterator[str]:
    """What was acknowledged must have been written before: written again later, it had been lost."""
    written: dict[tuple[str, int], float] = {}
    for entry in entries:
        if isinstance(entry.event, UpdateReceived):
            written.setdefault((entry.event.client, entry.event.round), entry.at_s)
    for each in told:
        at_s = written.get((each.client, each.round))
        who = f"the update of {each.client} for round {each.round}"
        if at_s is None:
            yield f"lost: {who} was acknowledged and is not in the journal"
        elif at_s > each.at_s:
            yield f"lost: {who} was acknowledged {at_s - each.at_s:.2f} s before it was written"


def _refused(entries: Sequence[Entry], told: Iterable[Answer]) -> Iterator[str]:
    """What counts is not called refused, however often it is handed in; what was late does not count."""
    late = _late(entries)
    written = {
        (entry.event.client, entry.event.round): entry.at_s
        for entry in reversed(entries)
        if isinstance(entry.event, UpdateReceived) and entry.seq not in late
    }
    for each in told:
        if written.get((each.client, each.round), each.at_s) < each.at_s:
            yield f"refused: {each.client} was told {each.verdict} of an update that counts: {each.round}"


def _late(entries: Sequence[Entry]) -> set[int]:
    """Return the entries of updates whose round was over, by the round machine."""
    state, late = RunState(), set[int]()
    for entry in entries:
        state, actions = step(state, entry.event, entry.at_s)
        if any(isinstance(each, Reply) and each.verdict == "late" for each in actions):
            late.add(entry.seq)
    return late


def _twice(entries: Sequence[Entry]) -> Iterator[str]:
    updates = Counter(
        (entry.event.client, entry.event.round, entry.event.digest)
        for entry in entries
        if isinstance(entry.event, UpdateReceived)
    )
    for (client, number, _), count in updates.items():
        if count > 1:
            yield f"twice: the update of {client} for round {number} is in the journal {count} times"


def _folds(entries: Sequence[Entry], folder: RunFolder) -> Iterator[str]:
    """Each round is folded once, from the updates that were accepted, each client's once."""
    state, accepted, folded = RunState(), Counter[tuple[str, int]](), Counter[int]()
    for entry in entries:
        state, actions = step(state, entry.event, entry.at_s)
        for action in actions:
            if getattr(action, "verdict", "") == "accepted":
                accepted[action.client, action.round] += 1  # type: ignore[union-attr]
            if isinstance(action, Fold) and any(
                accepted[c, state.receipts[c].round] != 1 for c in action.clients
            ):
                yield f"fold: round {action.round} counts clients not once: {action.clients}"
        if isinstance(entry.event, RoundFolded):
            folded[entry.event.round] += 1
            if sha256_of(folder.state_file(entry.event.round)) != entry.event.digest:
                yield f"fold: the state of round {entry.event.round} is not what was journalled"
    for number, count in folded.items():
        if count > 1:
            yield f"fold: round {number} was folded {count} times"
    for outcome in state.outcomes:
        if outcome.ending != "folded":
            yield f"fold: round {outcome.round} is {outcome.ending}: {outcome.reason}"


def _order(entries: Sequence[Entry], earlier: Iterable[Sequence[Entry]]) -> Iterator[str]:
    if [entry.seq for entry in entries] != list(range(1, len(entries) + 1)):
        yield "order: the journal has gaps"
    planned = [entry.event.round for entry in entries if isinstance(entry.event, RoundPlanned)]
    if planned != list(range(1, len(planned) + 1)):
        yield f"order: rounds were planned as {planned}"
    for before in earlier:
        if list(before) != list(entries[: len(before)]):
            yield f"order: the first {len(before)} entries are not what they were"
