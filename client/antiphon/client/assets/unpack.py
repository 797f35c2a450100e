"""The wanted files of a wheel or a source archive, and nothing outside their folder."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from antiphon.core.errors import DownloadError
from antiphon.core.files import written_whole


def unpack(archive: Path, patterns: Sequence[str], folder: Path) -> None:
    """Unpack the regular files whose path matches a pattern to `folder`, which appears whole.

    `*` in a pattern also spans folders. Raises DownloadError for a broken archive, one without any
    wanted file, or a wanted path that leads outside the folder.
    """
    count = 0
    with written_whole(folder, private=False) as part:
        part.mkdir()
        try:
            for name, content in _members(archive, patterns):
                _write(part, name, content)
                count += 1
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DownloadError(
                f"{archive} is not a readable archive ({error}): remove it and fetch again"
            ) from error
        if not count:
            raise DownloadError(f"{archive} holds no file like {', '.join(patterns)}")


def _members(archive: Path, patterns: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                if not entry.is_dir() and _is_wanted(entry.filename, patterns):
                    with wheel.open(entry) as content:
                        yield entry.filename, content
        return
    with tarfile.open(archive) as source:
        for member in source:
            if member.isfile() and _is_wanted(member.name, patterns):
                stream = source.extractfile(member)
                if stream is not None:
                    yield member.name, stream


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _write(folder: Path, name: str, content: IO[bytes]) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DownloadError(f"the archive holds the unsafe path {name!r}: it was not unpacked")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
