"""What one client keeps of a round for its next one: tensors on its disk, under the round's number.

The assignment says which round the coordinator has folded. What a round has left is taken up only where
that very round was folded: the update that belongs to the leavings of any other round never arrived.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import from_bytes, write_tensors
from antiphon.core.types import Assignment, State

log = structlog.get_logger()


class ByRound:
    """Tensors of one purpose. folder: the client's own of a run; it survives a restart."""

    def __init__(self, folder: Path, purpose: str) -> None:
        """Hold nothing; the folder need not exist. purpose: how the files' names begin."""
        self._folder, self._purpose = folder, purpose

    def before(self, assignment: Assignment) -> State:
        """Return what the client's last folded round has left; empty: nothing."""
        file = self._file(assignment.folded_round)
        if not file.is_file():
            return {}
        try:
            return from_bytes(file.read_bytes())
        except UpdateError as error:  # it would fail every round from now on
            log.warning(f"damaged {self._purpose}: dropped", file=str(file), reason=str(error))
            file.unlink()
            return {}

    def keep(self, assignment: Assignment, left: State) -> None:
        """Keep what this round leaves, until it is known whether it is folded."""
        needed = {self._file(assignment.folded_round), self._file(assignment.round)}
        for file in self._folder.glob(f"{self._purpose}-*.safetensors"):
            if file not in needed:
                file.unlink()
        write_tensors(self._file(assignment.round), left)

    def _file(self, number: int) -> Path:
        return self._folder / f"{self._purpose}-{number:06d}.safetensors"
