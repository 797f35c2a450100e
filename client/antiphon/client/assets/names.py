"""What the names in a config stand for: a known asset, a path, or an id of the hub."""

from __future__ import annotations

from pathlib import Path

from antiphon.client.assets.cache import cache_dir
from antiphon.client.assets.catalogue import CATALOGUE, Asset
from antiphon.client.assets.fetch import Progress, fetch, fetch_asset
from antiphon.client.assets.gguf import convert_file
from antiphon.core.errors import DataError, ModelError
from antiphon.core.files import sha256_of


def model_names() -> list[str]:
    """Return the names of the models that can be fetched."""
    return sorted(asset.name for asset in CATALOGUE.values() if asset.model)


def dataset_names() -> list[str]:
    """Return the names of the data sets that can be fetched."""
    return sorted(asset.name for asset in CATALOGUE.values() if asset.dataset)


def model_folder(name_or_path: str, on_progress: Progress | None = None) -> Path | str:
    """Return a local folder that transformers loads, or the id of a model on the hub, as it is.

    A known name is fetched first; a GGUF file is converted once, into the cache. Raises ModelError
    for a path that does not exist and for a name without an owner that is not known.
    """
    path = Path(name_or_path).expanduser()
    known = CATALOGUE.get(name_or_path)
    if path.exists():
        return _local(path, on_progress)
    if known is not None and known.model:
        return fetch(name_or_path, on_progress) / known.model
    owner, slash, name = name_or_path.partition("/")
    if owner and slash and name and "/" not in name and not name_or_path.startswith((".", "~")):
        return name_or_path
    raise ModelError(
        f"no model {name_or_path!r}: give a folder or a GGUF file that exists, a hub id "
        "owner/name, or "
        f"one of {', '.join(model_names())}"
    )


def dataset_file(name: str, on_progress: Progress | None = None) -> Path | None:
    """Return the JSONL file (or the folder of them) of a known data set, fetched if need be.

    None for a name that is not known. Raises DataError for a known name that is no data set.
    """
    asset = CATALOGUE.get(name)
    if asset is None:
        return None
    if asset.dataset is None:
        raise DataError(
            f"{name!r} is a model, not a data set; data sets: {', '.join(dataset_names())}"
        )
    return fetch(name, on_progress) / asset.dataset


def _local(path: Path, on_progress: Progress | None) -> Path:
    if path.is_dir():
        return path
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path} is a file, expected a model folder or a .gguf file")
    # The name is the content's, so that a changed file is converted again.
    asset = Asset(
        name="gguf",
        version=sha256_of(path)[:16],
        what=path.name,
        licence="unknown",
        disk_bytes=9 * path.stat().st_size,
        model="model",
    )

    def convert(_unpacked: Path, target: Path) -> None:
        convert_file(path, target)

    return fetch_asset(asset, convert, cache_dir(), on_progress) / "model"
