"""The model of a run: its newest state, older ones on the disk, and what clients and users get of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from antiphon.core import fault_points
from antiphon.core.blob import Blob, ModelChange
from antiphon.core.config import RunConfig
from antiphon.core.content import Content
from antiphon.core.errors import RunFolderError
from antiphon.core.events import Event, RunRewound
from antiphon.core.files import write_hashed
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Package, State
from antiphon.server.folding.adapter_folder import write_adapter
from antiphon.server.folding.exchanges import Exchanges
from antiphon.server.folding.held_models import HeldModels
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
        self._held = HeldModels()
        self._downloads: dict[int, Package] = {}
        self.state: State = {}
        self._version = 0

    def hear(self, event: Event) -> None:
        """Take one event of the journal in."""
        self._states.hear(event)
        self._held.hear(event)

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
        version, state = self._before(base)
        return self._blobs.get(version, r, state)

    def sha256_before(self, base: int) -> str:
        """Return the hash of the model of `blob_before` with the full rank, hex."""
        return self.blob_before(base, self._config.lora.r).sha256

    def change(self) -> ModelChange | None:
        """Return the other way to the model of `blob` with the full rank; none: there is none."""
        return self._blobs.change(self._version, self._config.lora.r, lambda: self.state)

    def change_before(self, base: int, r: int) -> ModelChange | None:
        """Return the other way to the model of `blob_before`; none: there is none."""
        version, state = self._before(base)
        return self._blobs.change(version, r, state)

    def bytes_to(self, client: str, base: int | None = None, r: int | None = None) -> int:
        """Return what of a model a client fetches that keeps the last one that it has received.

        base: the model is that of `blob_before`; none: it is the newest.
        """
        rank = self._config.lora.r if r is None else r
        model = self.blob(rank) if base is None else self.blob_before(base, rank)
        change = self.change() if base is None else self.change_before(base, rank)
        if change is None:
            return model.bytes
        if change.blob is None:
            return 0  # it writes the untouched model itself
        fetched = {model.sha256: 0, change.since: change.blob.bytes}
        return fetched.get(self._held_by(client, rank), model.bytes)

    def write(
        self, number: int, file: Path, content: Content, state: State, begun: Iterable[int]
    ) -> str:
        """Write a state and make it the model; return the file's hex SHA-256.

        begun: rounds whose assignments are still out; the models that they start from are kept.
        """
        self._blobs.forget(number)  # of a fold that has been undone after it was measured
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

    def _held_by(self, client: str, r: int) -> str:
        """Return the hash of the last model that a client has received; empty: it is not known."""
        number = self._held.round_of(client)
        if number is None:
            return ""
        try:
            version, state = self._before(number)
            return self._blobs.sha256(version, r, state)
        except RunFolderError:  # an old state that nothing else needs
            return ""

    def _before(self, base: int) -> tuple[int, Callable[[], State]]:
        """Return the version from which the assignments of round `base` start, and what gives its state."""
        version = self._states.newest(before=base)
        if version == self._version:
            return version, lambda: self.state
        return version, lambda: self._states.read(version)

    def save_last_adapter(self, outcomes: Iterable[Outcome]) -> None:
        """Write the adapter of the model that a run ends with, where no round has done so.

        The last round may have failed or been undone, and rounds need not all be saved.
        """
        last = [each.round for each in outcomes if each.ending in ("folded", "undone")]
        if last and not self._folder.adapter(last[-1]).exists():
            self.save_adapter(last[-1])
