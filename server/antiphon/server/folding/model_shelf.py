"""The models that clients download, as files: the newest, and those from which somebody still starts."""

from __future__ import annotations

from collections.abc import Callable, Collection

from antiphon.core.blob import Blob, blob_of
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.files import write_cache
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import to_content
from antiphon.core.types import CodecChoice, State
from antiphon.core.wire import CodedModel, pack_model
from antiphon.strategies.compression.downlink import code
from antiphon.strategies.methods.served import Served


class ModelShelf:
    """Packed models by version (the round whose fold made it; 0: the untouched one) and rank."""

    def __init__(
        self, folder: RunFolder, config: RunConfig, space: SpaceShapes, method: Served
    ) -> None:
        """Begin with none."""
        self._folder, self._config, self._space, self._method = folder, config, space, method
        self._blobs: dict[tuple[int, int], Blob] = {}
        self._frames: Blob | None = None

    def get(self, version: int, r: int, state: Callable[[], State]) -> Blob:
        """Return a model, whose file is `folder.model_blob`. state: gives the state of that version."""
        if (version, r) not in self._blobs:
            of_version = state()
            content, encoding = pack_model(
                self._coded(r, of_version) or self._method.download(of_version, r)
            )
            blob = blob_of(content, encoding)
            file = self._folder.model_blob(blob.sha256)
            if not file.exists():
                write_cache(file, content)
            self._blobs[version, r] = blob
        return self._blobs[version, r]

    def frames(self, coded: State) -> Blob | None:
        """Return what stands still beside every model, as a blob with a file of its own; none: nothing."""
        if coded and self._frames is None:
            content = to_content(coded)
            self._frames = blob_of(content, "safetensors")
            write_cache(self._folder.model_blob(self._frames.sha256), content)
        return self._frames

    def keep(self, versions: Collection[int]) -> None:
        """Remove all models but those of these versions."""
        self._blobs = {key: blob for key, blob in self._blobs.items() if key[0] in versions}
        frames = () if self._frames is None else (self._frames,)
        kept = {blob.sha256 for blob in (*self._blobs.values(), *frames)}
        for file in self._folder.models.glob("*"):
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def _coded(self, r: int, state: State) -> CodedModel | None:
        """Return the adapter as the downlink's codec has packed it; none: it travels as it is."""
        choice = self._config.compression.downlink
        if choice.kind == DENSE or r != self._config.lora.r:
            return None
        return CodedModel(CodecChoice(choice.kind, choice.arguments), code(state))
