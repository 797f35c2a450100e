"""The model of a run: its newest state, older ones on the disk, and what clients and users get of it."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from antiphon.core import fault_points
from antiphon.core.blob import Blob
from antiphon.core.config import RunConfig
from antiphon.core.content import Content
from antiphon.core.events import Event, RunRewound
from antiphon.core.files import write_hashed
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Package, State
from antiphon.server.folding.adapter_folder import write_adapter
from antiphon.server.folding.exchanges import Exchanges
from antiphon.server.folding.model_shelf import ModelShelf
from antiphon.server.folding.state_files import StateFiles
from antiphon.server.machine.run_state import Outcome
from antiphon.strategies.methods.served import Served


class GlobalModel:
    """One run's model. state: after the newest fold, or as a run was taken up."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        space: SpaceShapes,
        method: Served,
        exchanges: Exchanges,
    ) -> None:
        """Begin before the first event; `take_up` follows the last one. exchanges: what they have come to
        for good stands still beside the model.
        """
        self._exchanges = exchanges
        self._config, self._folder, self._space, self._method = config, folder, space, method
        self._states = StateFiles(folder, lambda: method.begin(space))
        self._blobs = ModelShelf(folder, config, space, method)
        self._downloads: dict[int, Package] = {}
        self.state: State = {}
        self._version = 0

    def hear(self, event: Event) -> None:
        """Take one event of the journal in."""
        self._states.hear(event)

    def take_up(self, from_round: int | None) -> RunRewound | None:
        """Read the newest state, or that of a round; return what the run is to be told of that.

        Raises RunFolderError where the newest is damaged and no round is given, and the other way round.
        """
        self._version = self._states.newest() if from_round is None else from_round
        self.state, rewinding = self._states.take_up(from_round)
        return rewinding

    def download(self, r: int | None = None) -> Package:
        """Return the model as a client of rank r receives it; none: the full rank."""
        rank = self._config.lora.r if r is None else r
        if rank not in self._downloads:
            self._downloads[rank] = self._method.download(self.state, rank)
        return replace(self._downloads[rank], frames=self._exchanges.lasting)

    def blob(self, r: int | None = None) -> Blob:
        """Return the model as a blob, whose file is `folder.model_blob`; r as in `download`."""
        rank = self._config.lora.r if r is None else r
        return self._blobs.get(self._version, rank, lambda: self.state)

    def frames(self) -> Blob | None:
        """Return what stands still beside every model, as `blob` does; none: nothing."""
        return self._blobs.frames(self._exchanges.lasting)

    def blob_before(self, base: int, r: int) -> Blob:
        """Return the model from which the assignments of round `base` start."""
        version = self._states.newest(before=base)
        if version == self._version:
            return self.blob(r)
        return self._blobs.get(version, r, lambda: self._states.read(version))

    def write(
        self, number: int, file: Path, content: Content, state: State, begun: Iterable[int]
    ) -> str:
        """Write a state and make it the model; return the file's hex SHA-256.

        begun: rounds whose assignments are still out; the models that they start from are kept.
        """
        with ThreadPoolExecutor(1) as beside:  # the model that most clients ask for next
            blob = beside.submit(self._blobs.get, number, self._config.lora.r, lambda: state)
            digest = write_hashed(file, content)
        blob.result()
        fault_points.reached("state written")
        self.state, self._version = state, number
        self._downloads.clear()
        self._blobs.keep({number, *(self._states.newest(each) for each in begun)})
        return digest

    def save_adapter(self, number: int) -> None:
        """Write the PEFT folder of the model as it is after round `number`."""
        tokenizer = self._folder.tokenizer if self._folder.tokenizer.is_dir() else None
        adapter = self._folder.adapter(number)
        exported = self._method.space.export(self._space, self.download())
        write_adapter(adapter, self._config, self._space, exported, tokenizer)

    def save_last_adapter(self, outcomes: Iterable[Outcome]) -> None:
        """Write the adapter of the model that a run ends with, where no round has done so.

        The last round may have failed or been undone, and rounds need not all be saved.
        """
        last = [each.round for each in outcomes if each.ending in ("folded", "undone")]
        if last and not self._folder.adapter(last[-1]).exists():
            self.save_adapter(last[-1])
