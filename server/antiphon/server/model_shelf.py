"""The models that clients download, as files: the newest, and those from which somebody still starts."""

from __future__ import annotations

from collections.abc import Callable, Collection

from antiphon.core.blob import Blob, blob_of
from antiphon.core.content import Content
from antiphon.core.files import write_cache
from antiphon.core.run_folder import RunFolder


class ModelShelf:
    """Packed models by version (the round whose fold made it; 0: the untouched one) and rank."""

    def __init__(self, folder: RunFolder) -> None:
        """Begin with none."""
        self._folder = folder
        self._blobs: dict[tuple[int, int], Blob] = {}

    def get(self, version: int, r: int, pack: Callable[[], tuple[Content, str]]) -> Blob:
        """Return a model, whose file is `folder.model_blob`. pack: gives its content and encoding."""
        if (version, r) not in self._blobs:
            content, encoding = pack()
            blob = blob_of(content, encoding)
            file = self._folder.model_blob(blob.sha256)
            if not file.exists():
                write_cache(file, content)
            self._blobs[version, r] = blob
        return self._blobs[version, r]

    def keep(self, versions: Collection[int]) -> None:
        """Remove all models but those of these versions."""
        self._blobs = {key: blob for key, blob in self._blobs.items() if key[0] in versions}
        kept = {blob.sha256 for blob in self._blobs.values()}
        for file in self._folder.models.glob("*"):
            if file.name not in kept:
                file.unlink(missing_ok=True)
