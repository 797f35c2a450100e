"""Which base model a machine has: a hash of its weights, computed once per copy on the disk.

SHA-256 over the weight files of the model's folder in order of name: for each, its name and a NUL, its
size as eight bytes (little-endian), its content. All clients of a run must have the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from antiphon.client.assets.cache import cache_dir
from antiphon.client.assets.names import model_folder
from antiphon.core.errors import ModelError
from antiphon.core.files import write_bytes

_CHUNK = 1 << 20


def model_digest(name_or_path: str, cache: Path | None = None) -> bytes:
    """Return the 32 bytes. cache: where digests are remembered, by default the folder of fetched models.

    Raises ModelError where the model is not on this machine or its folder holds no weights.
    """
    files = _weight_files(_folder(name_or_path))
    remembered = (cache or cache_dir()) / "digests" / _key(files)
    if remembered.exists():
        return remembered.read_bytes()
    digest = _digest(files)
    write_bytes(remembered, digest)
    return digest


def _folder(name_or_path: str) -> Path:
    found = model_folder(name_or_path)
    if isinstance(found, Path):
        return found
    # Imported here because most models are no hub ids; the files are there since the model was loaded.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(found, local_files_only=True))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"the model {found!r} of the hub is not on this machine: load it once before"
        ) from None


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise ModelError(
            f"the model folder {folder} holds no *.safetensors file: give one that does"
        )
    return files


def _key(files: Sequence[Path]) -> str:
    """Name a remembered digest by where its files are and when they were written."""
    stats = [(str(file.resolve()), file.stat()) for file in files]
    facts = [
        (file.name, path, stat.st_size, stat.st_mtime_ns)
        for file, (path, stat) in zip(files, stats, strict=True)
    ]
    return hashlib.sha256(json.dumps(facts, allow_nan=False).encode()).hexdigest()


def _digest(files: Sequence[Path]) -> bytes:
    hashed = hashlib.sha256()
    for path in files:
        hashed.update(path.name.encode() + b"\0" + path.stat().st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
    return hashed.digest()
