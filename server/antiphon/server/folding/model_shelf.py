"""The models that clients download, as files: the newest, and those from which somebody still starts."""

from __future__ import annotations

from collections.abc import Callable, Collection

from antiphon.core.blob import Blob, ModelChange, blob_of
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.files import write_cache
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import to_content
from antiphon.core.types import CodecChoice, Package, State
from antiphon.core.wire import CodedModel, pack_model
from antiphon.strategies.compression.downlink import code, since
from antiphon.strategies.methods.served import Served


class ModelShelf:
    """Packed models by version (the round whose fold made it; 0: the untouched one) and rank."""

    def __init__(
        self, folder: RunFolder, config: RunConfig, space: SpaceShapes, method: Served
    ) -> None:
        """Begin with none."""
        self._folder, self._config, self._space, self._method = folder, config, space, method
        self._blobs: dict[tuple[int, int], Blob] = {}
        self._changes: dict[int, ModelChange | None] = {}
        self._hashes: dict[tuple[int, int], str] = {}
        self._frames: Blob | None = None

    def get(self, version: int, r: int, state: Callable[[], State]) -> Blob:
        """Return a model, whose file is `folder.model_blob`. state: gives the state of that version."""
        if (version, r) not in self._blobs:
            of_version = state()
            coded = self._coded(of_version) if self._packs_whole(r) else None
            blob = self._written(coded or self._method.download(of_version, r))
            self._blobs[version, r], self._hashes[version, r] = blob, blob.sha256
        return self._blobs[version, r]

    def sha256(self, version: int, r: int, state: Callable[[], State]) -> str:
        """Return the hash of a model, which need not be there any more. As `get`."""
        return self._hashes.get((version, r)) or self.get(version, r, state).sha256

    def change(self, version: int, r: int, state: Callable[[], State]) -> ModelChange | None:
        """Return the other way to a model, whose file is there too; none: there is none. As `get`."""
        if not self._config.compression.changes or r != self._config.lora.r:
            return None
        if version == 0:
            return ModelChange()
        if version not in self._changes:
            self._changes[version] = self._change(state(), self.get(version, r, state))
        return self._changes[version]

    def frames(self, coded: State) -> Blob | None:
        """Return what stands still beside every model, as a blob with a file of its own; none: nothing."""
        if coded and self._frames is None:
            content = to_content(coded)
            self._frames = blob_of(content, "safetensors")
            write_cache(self._folder.model_blob(self._frames.sha256), content)
        return self._frames

    def forget(self, version: int) -> None:
        """Know nothing of a version: another state takes its place."""
        self._blobs = {key: each for key, each in self._blobs.items() if key[0] != version}
        self._hashes = {key: each for key, each in self._hashes.items() if key[0] != version}
        self._changes.pop(version, None)

    def keep(self, versions: Collection[int]) -> None:
        """Remove all models but those of these versions."""
        self._blobs = {key: blob for key, blob in self._blobs.items() if key[0] in versions}
        self._changes = {key: each for key, each in self._changes.items() if key in versions}
        changes = [each.blob for each in self._changes.values() if each is not None]
        kept = {blob.sha256 for blob in (*self._blobs.values(), *changes, self._frames) if blob}
        for file in self._folder.models.glob("*"):
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def _packs_whole(self, r: int) -> bool:
        """Whether the downlink's codec packs the adapter itself; else it travels as it is."""
        compression = self._config.compression
        whole = compression.downlink.kind != DENSE and not compression.changes
        return whole and r == self._config.lora.r

    def _change(self, state: State, model: Blob) -> ModelChange | None:
        """Return how a round has led to a model: where it has, and with fewer bytes than the model's."""
        before = since(state)
        if not before:
            return None
        blob = self._written(self._coded(state))
        return ModelChange(before, blob) if blob.bytes < model.bytes else None

    def _coded(self, state: State) -> CodedModel:
        choice = self._config.compression.downlink
        return CodedModel(CodecChoice(choice.kind, choice.arguments), code(state))

    def _written(self, model: Package | CodedModel) -> Blob:
        content, encoding = pack_model(model)
        blob = blob_of(content, encoding)
        file = self._folder.model_blob(blob.sha256)
        if not file.exists():
            write_cache(file, content)
        return blob
