"""The beginning of a run, the same for every engine: folder, space, and what is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from antiphon.core.clock import Clock
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.events import RunDescribed
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create, open_for_resume
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Plain
from antiphon.server.federation import Federation
from antiphon.server.folding.space_file import write_space
from antiphon.strategies.methods.method import method_of


def runs_dir(config: RunConfig) -> Path:
    """Return the folder of all runs."""
    return Path(config.output.runs_dir).expanduser()


def new_folder(config: RunConfig) -> RunFolder:
    """Make the folder of a new run. Raises RunFolderError."""
    return create(runs_dir(config), config.name, resolved(config), config_hash(config))


def resumed_folder(config: RunConfig) -> RunFolder:
    """Return the folder of the run that is to go on. Raises RunFolderError where there is none."""
    return open_for_resume(runs_dir(config), config.name, resolved(config), config_hash(config))


def begin_run(
    config: RunConfig,
    folder: RunFolder,
    journal: Journal,
    space: SpaceShapes,
    clock: Clock,
    *,
    engine: str,
    facts: Mapping[str, Plain] | None = None,
    from_round: int | None = None,
    secret: bytes,
) -> Federation:
    """Take a run up where its journal ends, and note what is known of it; `Federation.start` follows.

    engine, facts: what the journal is to say of the run, beside what the config tells; secret: see
    folding/fold_secret.py. Raises as Federation does.
    """
    federation = Federation(config, folder, journal, space, clock, from_round, secret=secret)
    write_space(folder.space_file, space)
    trained = method_of(config).space
    described: dict[str, Plain] = {
        "engine": engine,
        "method": config.method.label,
        "space": "weights" if trained.trains_weights else "adapter",
        "model": config.model.model_name_or_path,
        "trained_parameters": trained.trained(space),
        "adapter_parameters": sum(math.prod(shape) for shape in space.factors.values()),
        "model_parameters": space.model_parameters,
    }
    federation.observe(RunDescribed({**described, **(facts or {})}))
    return federation
