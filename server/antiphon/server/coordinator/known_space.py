"""What a run trains, where that is known before anybody joins: from its folder, or from the operator."""

from __future__ import annotations

from dataclasses import replace

from antiphon.core.config import RunConfig
from antiphon.core.errors import RunFolderError, UserError
from antiphon.core.events import RunStarted
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.server.folding.space_file import read_space
from antiphon.server.planning.agreement import claim_of


def known_space(
    given: SpaceShapes | None, folder: RunFolder, journal: Journal, config: RunConfig
) -> SpaceShapes | None:
    """Return the space of a run's folder, else the operator's, else none: the clients are to say it.

    given: what the operator has fixed. Raises UserError where the two differ, and where the run has begun
    but its file is lost or damaged and the operator says nothing.
    """
    begun = _begun(given, folder, journal, config)
    if begun is not None and given is not None and claim_of(given) != claim_of(begun):
        raise UserError(
            f"the run in {folder.path} was begun with other shapes or another base model "
            "than --space says: leave --space out, or start a new run"
        )
    if begun is None and given is not None:
        return replace(given, base_model=config.model.model_name_or_path)
    return begun


def _begun(
    given: SpaceShapes | None, folder: RunFolder, journal: Journal, config: RunConfig
) -> SpaceShapes | None:
    file = folder.space_file
    if not file.exists():
        if given is None and _agreed(journal):
            raise RunFolderError(
                f"{file} is missing: restore it, or write it with `antiphon check RUN.yaml --space {file}`"
            )
        return None
    try:
        return read_space(file, config)
    except RunFolderError:
        if given is None or not _agreed(journal):  # else the journal tells whether it is the same
            raise
        return None


def _agreed(journal: Journal) -> bool:
    """Say whether the run has begun, and its journal holds the hash of what it trains."""
    started = (entry.event for entry in journal.read(kinds=[RunStarted]))
    return any(isinstance(each, RunStarted) and each.space for each in started)
