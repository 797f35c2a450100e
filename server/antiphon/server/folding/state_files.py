"""The states that a run has left on the disk, by round, and whether they are what its journal says.

A state that has been changed, torn or lost since it was written would make another model without any sign
of it: nothing is read here whose SHA-256 is not the journal's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import Event, RoundFolded, RoundUndone, RunRewound
from antiphon.core.files import sha256_of
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.tensors import from_bytes
from antiphon.core.types import State


class DamagedState(RunFolderError):
    """A state's file is missing, or is not what was written."""


def states_of(folder: RunFolder, untouched: Callable[[], State]) -> StateFiles:
    """Return the states that a run's journal tells of; see StateFiles. Raises RunFolderError."""
    states = StateFiles(folder, untouched)
    with Journal.reading(folder.journal_file) as journal:
        for entry in journal.read(kinds=[RoundFolded, RoundUndone, RunRewound]):
            states.hear(entry.event)
    return states


@dataclass(frozen=True)
class _Written:
    """A file of a state. digest: hex SHA-256 by the journal; empty: an older version noted none."""

    file: Path
    digest: str


class StateFiles:
    """The states of the rounds that have changed the model, as the journal tells of them."""

    def __init__(self, folder: RunFolder, untouched: Callable[[], State]) -> None:
        """Begin before the first event. untouched: computes the state before round 1, from the seed."""
        self._folder, self._untouched = folder, untouched
        self._written: dict[int, _Written] = {}

    def hear(self, event: Event) -> None:
        """Take one event of the journal in."""
        match event:
            case RoundFolded():
                file = self._folder.state_file(event.round)
                self._written[event.round] = _Written(file, event.digest)
            case RoundUndone():
                file = self._folder.undone_file(event.round)
                self._written[event.round] = _Written(file, event.digest)
            case RunRewound():
                self._written = {n: each for n, each in self._written.items() if n <= event.round}

    def rounds(self) -> list[int]:
        """Return the rounds whose states count, rising; 0, the untouched model, is first."""
        return [0, *sorted(self._written)]

    def newest(self, before: int | None = None) -> int:
        """Return the last round (none given: of all) that has left a state; 0: none has."""
        known = (each for each in self._written if before is None or each < before)
        return max(known, default=0)

    def read(self, number: int) -> State:
        """Return the state after a round that has left one, or the untouched one. Raises DamagedState."""
        if number == 0:
            return self._untouched()
        written = self._written[number]
        try:
            content = written.file.read_bytes()
        except OSError as error:
            raise _damaged(number, written, f"cannot be read ({error.strerror})") from None
        _compare(number, written, hashlib.sha256(content).hexdigest())
        try:
            return from_bytes(content)
        except UpdateError as error:
            raise _damaged(number, written, str(error)) from None

    def take_up(self, from_round: int | None) -> tuple[State, RunRewound | None]:
        """Return the state that a run goes on with, and what to journal where it is not the newest.

        from_round: whose state is wanted in the place of a damaged one; none: the newest. Raises
        DamagedState, RunFolderError where nothing is damaged or the round has left no whole state.
        """
        newest = self.newest()
        try:
            state = self.read(newest)
        except DamagedState as error:
            whole = self._whole()
            if from_round is None:
                raise DamagedState(f"{error}. Restore it, or {_way_back(whole[-1])}") from None
            if from_round not in whole:
                raise RunFolderError(
                    f"cannot go on from round {from_round}: of the rounds before {newest}, these have left "
                    f"a whole state: {', '.join(map(str, whole))} (0: the untouched model). Give one"
                ) from None
            return self.read(from_round), RunRewound(from_round, str(error))
        if from_round is not None:
            raise RunFolderError(
                f"nothing to go back from: the state after round {newest} is whole. Leave --from-round out"
            )
        return state, None

    def _whole(self) -> list[int]:
        """Return the rounds before the newest whose files are whole, rising; 0 needs none, and is first."""
        newest = self.newest()
        return [each for each in self.rounds() if each < newest and self._is_whole(each)]

    def _is_whole(self, number: int) -> bool:
        written = self._written.get(number)
        try:
            if written is not None and written.digest:
                return sha256_of(written.file) == written.digest
            self.read(number)
        except (OSError, DamagedState):
            return False
        return True


def _way_back(number: int) -> str:
    return (
        f"go on from round {number}, the newest that is whole{'' if number else ' (the untouched model)'}: "
        f"add --from-round {number} to --resume. What came after it does not count then"
    )


def _compare(number: int, written: _Written, got: str) -> None:
    if written.digest not in ("", got):
        raise _damaged(number, written, f"has SHA-256 {got}, the journal says {written.digest}")


def _damaged(number: int, written: _Written, what: str) -> DamagedState:
    return DamagedState(f"the state after round {number} is damaged: {written.file} {what}")
