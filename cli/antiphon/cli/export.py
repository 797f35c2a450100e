"""`antiphon export`: the adapter after a round, or the base model with it merged in."""

from __future__ import annotations

import shutil
from pathlib import Path

from antiphon.client.merge import write_merged
from antiphon.core.config import RunConfig, validate
from antiphon.core.errors import RunFolderError
from antiphon.core.files import written_whole
from antiphon.core.run_folder import RunFolder, read_state
from antiphon.server.methods import server_method
from antiphon.server.space import read_space, write_adapter
from antiphon.simulation.space import space_of


def export_run(run: Path, round_number: int | None, out: Path, *, merge: bool) -> None:
    """Write the model after a round to `out`. Raises RunFolderError where there is no such round."""
    if out.exists():
        raise RunFolderError(f"{out} exists already: give --out a folder that does not")
    folder = RunFolder(run)
    config = validate(folder.config_values(), source=str(folder.config_file))
    number = _newest_round(folder) if round_number is None else round_number
    if merge:
        with written_whole(out) as part:
            adapter = part.with_name(f"{part.name}-adapter")
            try:
                _write(folder, config, number, adapter)
                write_merged(config.model.model_name_or_path, adapter, part)
            finally:
                shutil.rmtree(adapter, ignore_errors=True)
    else:
        _write(folder, config, number, out)


def _write(folder: RunFolder, config: RunConfig, number: int, out: Path) -> None:
    if number not in folder.rounds_with_model():
        raise RunFolderError(
            f"{folder.path} has no model after round {number}; its newest is {_newest_round(folder)}"
        )
    state = read_state(folder.model_file(number))
    download = server_method(config).download(state, config.lora.r)
    space = read_space(folder) if folder.space_file.exists() else space_of(config)
    write_adapter(out, config, space, download)


def _newest_round(folder: RunFolder) -> int:
    rounds = folder.rounds_with_model()
    if not rounds:
        raise RunFolderError(f"{folder.path} holds no finished round: give the folder of a run")
    return rounds[-1]
