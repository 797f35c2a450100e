"""How a run is taken up again, where its config may have changed in what decides nothing about the past."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RunResumed, RunStarted
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Plain
from antiphon.server.machine.run_state import OPEN, RunState, measuring_terms
from antiphon.server.machine.terms import read_terms
from antiphon.server.planning.agreement import claim_of
from antiphon.server.planning.due import measuring_of


def check_same_space(started: RunStarted, space: SpaceShapes, folder: RunFolder) -> None:
    """Raise RunFolderError where a run is taken up with another space than it began with."""
    expected, got = started.space, claim_of(space)
    if expected not in ("", got):
        raise RunFolderError(
            f"the run in {folder.path} does not train what it began with (its hash is {got}, the journal "
            f"says {expected}): {folder.space_file.name} or the base model has been changed. Restore it, "
            "or start a new run"
        )


def resumed(
    config: RunConfig, machine: RunState, clock_stood: bool, *, everyone: bool
) -> RunResumed:
    """Return the event that takes a run up; where the config differs from the journal's, it stands in it.

    machine: where the run stands; clock_stood: see RunResumed; everyone: see `measuring_of`.
    """
    hashed = config_hash(config)
    measuring = _measured_otherwise(config, machine, everyone)
    if hashed == machine.run.config_hash:
        return RunResumed(clock_stood, measuring=measuring)
    return RunResumed(
        clock_stood,
        config_hash=hashed,
        rounds=config.rounds,
        deadline_s=config.cohort.deadline_s,
        evaluation_deadline_s=config.evaluation.deadline_s,
        measuring=measuring,
    )


def _measured_otherwise(
    config: RunConfig, machine: RunState, everyone: bool
) -> Mapping[str, Plain]:
    """Return how the open round is measured, where an older version or config has planned it otherwise."""
    if machine.round > 0 and machine.phase not in OPEN:
        return {}
    row = measuring_of(config, machine.round, everyone=everyone)
    return {} if read_terms(row) == measuring_terms(machine) else row or {"deadline_s": 0.0}
