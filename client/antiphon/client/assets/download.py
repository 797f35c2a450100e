"""One pinned file of the Python index, brought here by pip with the user's own settings.

pip knows the user's index, proxy and certificates, compares the hash before it looks inside, and
resumes a broken transfer. The hash is compared once more on the file that it leaves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from antiphon.client.assets.catalogue import Distribution
from antiphon.core.errors import DownloadError
from antiphon.core.files import sha256_of, written_whole

_RESUMES_SINCE = (25, 1)
_LAST_LINES = 8
_REFUSED_FOR_DEPENDENCIES = "cannot declare direct URL dependencies"


def download(wanted: Distribution, folder: Path) -> Path:
    """Put the file into `folder` and return its path; nothing half-written or wrong stays there.

    Raises DownloadError where pip cannot get it, or what arrives has another SHA-256.
    """
    target = folder / wanted.file
    if target.exists():  # from an earlier fetch, or put here by hand
        if sha256_of(target) == wanted.sha256:
            return target
        target.unlink()
    with written_whole(folder / "download", private=False) as part:
        part.mkdir()
        _run_pip(wanted, part)
        arrived = part / wanted.file
        _check(wanted, arrived)
        arrived.replace(target)
    shutil.rmtree(folder / "download")
    return target


def _run_pip(wanted: Distribution, folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wanted.package}=={wanted.version} --hash=sha256:{wanted.sha256}\n")
    resuming = ["--resume-retries", "5"] if _pip_release() >= _RESUMES_SINCE else []
    result = _pip(sys.executable, wanted, requirements, folder, resuming)
    if _REFUSED_FOR_DEPENDENCIES in result.stdout:
        # Newer pips look at the dependencies of a source archive that they shall only download. The pip
        # that Python itself brings along may not.
        with TemporaryDirectory(prefix="antiphon-pip-") as old:
            _make_environment(Path(old))
            result = _pip(f"{old}/bin/python", wanted, requirements, folder, [])
    requirements.unlink()
    if result.returncode != 0:
        by_hand = f"put {wanted.file} into {folder.parent} yourself"
        raise DownloadError(_explain(wanted, result.stdout, by_hand))


def _make_environment(folder: Path) -> None:
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise DownloadError(
            "this source archive needs the pip that comes with Python (ensurepip), which this Python "
            f"lacks: install python3-venv or the like ({error})"
        ) from None


def _pip(
    python: str, wanted: Distribution, requirements: Path, folder: Path, options: list[str]
) -> subprocess.CompletedProcess[str]:
    only = "--no-binary" if wanted.is_source else "--only-binary"
    command = [python, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    command += [only, wanted.package, "--progress-bar", "off", "--disable-pip-version-check"]
    return subprocess.run(
        [*command, *options, "--dest", str(folder), "-r", str(requirements)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _pip_release() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("pip").split(".")[:2])
    except PackageNotFoundError:
        raise DownloadError(
            f"downloading needs pip, which {sys.executable} does not have: install pip there "
            "(python -m ensurepip, or uv pip install pip)"
        ) from None


def _explain(wanted: Distribution, output: str, by_hand: str) -> str:
    name = f"{wanted.package} {wanted.version}"
    said = "\n  ".join(output.strip().splitlines()[-_LAST_LINES:])
    if "DO NOT MATCH THE HASHES" in output:
        return (
            f"the download of {name} is corrupted or is another file (expected SHA-256 "
            f"{wanted.sha256}); it was removed. Fetch again; if it happens again, look at the "
            f"index or proxy that pip uses. pip said:\n  {said}"
        )
    if _REFUSED_FOR_DEPENDENCIES in output:
        return (
            f"pip refuses {name}, because the package names a dependency by its address. Nothing of "
            f"it would be installed here: {by_hand} (SHA-256 {wanted.sha256}), or use an index of "
            f"your own that has it, then fetch again. pip said:\n  {said}"
        )
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return (
            f"the disk is full: {name} needs {wanted.size_bytes / 1e6:.0f} MB here and in pip's "
            "temporary folder. Free some space, or set ANTIPHON_CACHE and TMPDIR. pip said:\n  "
            f"{said}"
        )
    return (
        f"pip could not download {name} ({wanted.size_bytes / 1e6:.0f} MB). Check the network and "
        f"pip's index settings (pip config list), or {by_hand}, then fetch again. pip said:\n  {said}"
    )


def _check(wanted: Distribution, arrived: Path) -> None:
    if not arrived.is_file():
        raise DownloadError(
            f"pip brought {wanted.package} {wanted.version}, but not as {wanted.file}: look at "
            "pip's index settings (pip config list)"
        )
    got = sha256_of(arrived)
    if got != wanted.sha256:
        raise DownloadError(
            f"the download of {wanted.package} {wanted.version} is corrupted: its SHA-256 is "
            f"{got}, expected {wanted.sha256}; it was removed. Fetch again"
        )
