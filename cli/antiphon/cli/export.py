"""`antiphon export`: the adapter after a round, or the base model with it merged in.

What needs torch is imported where it is needed: a coordinator's machine, where a real run lies, has none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.markup import escape

from antiphon.client.assets.catalogue import CATALOGUE
from antiphon.client.assets.names import model_folder
from antiphon.core.config import RunConfig, validate
from antiphon.core.errors import DownloadError, ModelError, RunFolderError
from antiphon.core.files import written_whole
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.server.folding.adapter_folder import write_adapter
from antiphon.server.folding.space_file import read_space
from antiphon.server.folding.state_files import DamagedState, states_of
from antiphon.strategies.methods.method import method_of


def export_run(
    run: Path, round_number: int | None, out: Path, *, merge: bool, console: Console
) -> None:
    """Write the model after a round to `out`.

    Raises RunFolderError where there is no such round, or its state is not what the journal says.
    """
    if out.exists():
        raise RunFolderError(f"{out} exists already: give --out a folder that does not")
    folder = RunFolder(run)
    config = validate(folder.config_values(), source=str(folder.config_file))
    if merge:
        from antiphon.client.merge import write_merged

        with written_whole(out) as part:
            adapter = part.with_name(f"{part.name}-adapter")
            try:
                _write(folder, config, round_number, adapter, console)
                write_merged(config.model.model_name_or_path, adapter, part)
            finally:
                shutil.rmtree(adapter, ignore_errors=True)
    else:
        _write(folder, config, round_number, out, console)


def _write(
    folder: RunFolder, config: RunConfig, wanted: int | None, out: Path, console: Console
) -> None:
    space, method = _space(folder, config, console), method_of(config).serve()
    states = states_of(folder, lambda: method.begin(space))
    number = states.newest() if wanted is None else wanted
    if number not in states.rounds():
        raise RunFolderError(
            f"{folder.path} has no model after round {number}; its newest is {states.newest()}"
        )
    try:
        download = method.download(states.read(number), config.lora.r)
    except DamagedState as error:
        raise DamagedState(
            f"{error}. Restore it from a copy, or export an earlier round with --round"
        ) from None
    with _tokenizer(folder, space) as tokenizer:
        write_adapter(out, config, space, method.space.export(space, download), tokenizer)


@contextmanager
def _tokenizer(folder: RunFolder, space: SpaceShapes) -> Iterator[Path | None]:
    """Give a folder with the base model's tokenizer; none: this machine has neither it nor its library."""
    if folder.tokenizer.is_dir():
        yield folder.tokenizer
    elif find_spec("transformers") is None or not Path(space.base_model).is_dir():
        yield None
    else:
        from antiphon.client.language_model import load_tokenizer
        from antiphon.client.tokenizer_folder import write_tokenizer

        with TemporaryDirectory(prefix="antiphon-tokenizer-") as scratch:
            write_tokenizer(load_tokenizer(space.base_model), Path(scratch) / "tokenizer")
            yield Path(scratch) / "tokenizer"


def _space(folder: RunFolder, config: RunConfig, console: Console) -> SpaceShapes:
    if folder.space_file.exists():
        return _with_folder(read_space(folder.space_file, config), console)
    from antiphon.client.shapes import space_of

    return space_of(config)


def _with_folder(space: SpaceShapes, console: Console) -> SpaceShapes:
    """Return the space with the base model's folder on this machine: a coordinator knows only its name."""
    try:
        if space.base_model in CATALOGUE and find_spec("torch") is None:  # before it is downloaded
            raise ModelError("torch, which converts it, is not installed")
        base = model_folder(space.base_model, lambda told: console.print(escape(told)))
    except (ModelError, DownloadError) as error:
        console.print(
            f"adapter_config.json names the base model {escape(space.base_model)}, which is not here "
            f"({escape(str(error))}): give PEFT its folder on the machine that uses the adapter",
            highlight=False,
            soft_wrap=True,
        )
        return space
    return replace(space, base_model=str(base.absolute() if isinstance(base, Path) else base))
