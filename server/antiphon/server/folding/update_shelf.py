"""What clients have sent, by the round in which they began; tensors stay on disk, whatever packed them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from antiphon.core import fault_points, registry
from antiphon.core.blob import Blob
from antiphon.core.defaults import DENSE
from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.files import link_whole, sha256_of, write_bytes, write_cache
from antiphon.core.run_folder import RunFolder, read_bytes
from antiphon.core.tensors import LazyTensors, to_content
from antiphon.core.types import CodecChoice, State
from antiphon.core.wire import update_blob
from antiphon.strategies.compression.codec import Codec, Shapes
from antiphon.strategies.secure.names import MASKED

Unpack = Callable[[Blob, Path], State]
"""Gives the tensors of a blob, from its file. Raises UpdateError where they are not what was asked for."""


class UpdateShelf:
    """The accepted updates of a run.

    keep: also when their round is over; sync: they outlive a power cut; masked: they are under masks.
    """

    def __init__(self, folder: RunFolder, *, keep: bool, sync: bool, masked: bool = False) -> None:
        """Take over what an earlier process has left; its hashes are compared before use."""
        self._folder, self._keep, self._sync = folder, keep, sync
        self._masked = masked
        self._compared: set[tuple[int, str]] = set()
        self._decoded: set[tuple[int, str, str]] = set()

    def put(self, number: int, client: str, message: bytes, tensors: Path | None) -> None:
        """Keep an update; tensors: the file of its blob, whose hash has been compared."""
        if tensors is not None:
            kept = self._folder.update_tensors_file(number, client)
            link_whole(tensors, kept, sync=self._sync)
            self._compared.add((number, client))
        write_bytes(self._folder.update_file(number, client), message, sync=self._sync)
        fault_points.reached("update linked")

    def get(
        self, number: int, client: str, digest: str, unpack: Unpack
    ) -> tuple[bytes, State | None]:
        """Return an update's message and tensors; none: it names no blob.

        digest: hex SHA-256 of the message. Raises RunFolderError where the files have been changed.
        """
        file = self._folder.update_file(number, client)
        message = read_bytes(file)
        if hashlib.sha256(message).hexdigest() != digest:
            raise _changed(file)
        blob = update_blob(message)
        if blob is None:
            return message, None
        tensors = self._folder.update_tensors_file(number, client)
        if not self._is_unchanged(number, client, tensors, blob):
            raise _changed(tensors)
        return message, unpack(blob, tensors)

    def unpacked(
        self,
        number: int,
        client: str,
        blob: Blob,
        file: Path,
        codec: CodecChoice,
        shapes: Callable[[], Shapes],
    ) -> State:
        """Return an update's tensors, which stay on disk: the fold reads one at a time.

        file: of the blob, as it was sent; codec, shapes: what the round asked for. Raises UpdateError
        where it is something else.
        """
        if self._masked:
            return masked_vector(blob, file)
        wanted = "safetensors" if codec.kind == DENSE else codec.kind
        if blob.encoding != wanted:
            raise UpdateError(
                f"tensors packed as {blob.encoding[:64]!r}, the round asked for {wanted}"
            )
        if codec.kind == DENSE:
            return LazyTensors(file)
        decoded = self._folder.update_decoded_file(number, client)
        if (number, client, blob.sha256) not in self._decoded:
            tensors = built(codec).decode(file.read_bytes(), shapes())
            write_cache(decoded, to_content(tensors))
            self._decoded.add((number, client, blob.sha256))
        return LazyTensors(decoded)

    def discard(self, number: int) -> None:
        """Remove what clients sent that began in this round."""
        self._compared = {each for each in self._compared if each[0] != number}
        self._decoded = {each for each in self._decoded if each[0] != number}
        if not self._keep:
            shutil.rmtree(self._folder.round_dir(number) / "updates", ignore_errors=True)

    def _is_unchanged(self, number: int, client: str, tensors: Path, blob: Blob) -> bool:
        # What this process has received was hashed on its way in; what an earlier one has is looked at.
        known = (number, client) in self._compared
        return tensors.is_file() and (known or sha256_of(tensors) == blob.sha256)


def masked_vector(blob: Blob, file: Path) -> State:
    """Return what a client has sent under masks. Raises UpdateError for anything else."""
    if blob.encoding != MASKED:
        raise UpdateError(
            f"an update packed as {blob.encoding[:64]!r}, the round asked for {MASKED}"
        )
    return {MASKED: np.fromfile(file, np.uint8)}


def built(choice: CodecChoice) -> Codec:
    """Return the codec that is chosen. Raises ConfigError for one that is not installed."""
    codec: Codec = registry.build("codec", choice.kind, choice.arguments)
    return codec


def _changed(file: Path) -> RunFolderError:
    return RunFolderError(
        f"{file} is not the update that was accepted: the run folder was changed. Start a new run"
    )
