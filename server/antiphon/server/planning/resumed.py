"""How a run is taken up again, where its config may have changed in what decides nothing about the past."""

from __future__ import annotations

from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RunResumed, RunStarted
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import Space
from antiphon.server.planning.agreement import claim_of


def check_same_space(started: RunStarted, space: Space, folder: RunFolder) -> None:
    """Raise RunFolderError where a run is taken up with another space than it began with."""
    expected, got = started.space, claim_of(space)
    if expected not in ("", got):
        raise RunFolderError(
            f"the run in {folder.path} does not train what it began with (its hash is {got}, the journal "
            f"says {expected}): {folder.space_file.name} or the base model has been changed. Restore it, "
            "or start a new run"
        )


def resumed(config: RunConfig, started: RunStarted, clock_stood: bool) -> RunResumed:
    """Return the event that takes a run up; where the config differs from the journal's, it stands in it.

    started: what the run agreed to, as far as the journal tells; clock_stood: see RunResumed.
    """
    hashed = config_hash(config)
    if hashed == started.config_hash:
        return RunResumed(clock_stood)
    return RunResumed(
        clock_stood,
        config_hash=hashed,
        rounds=config.rounds,
        deadline_s=config.cohort.deadline_s,
        evaluation_deadline_s=config.evaluation.deadline_s,
    )
