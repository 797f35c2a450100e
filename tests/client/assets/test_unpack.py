import io
import tarfile
import zipfile

import pytest

from antiphon.client.assets.unpack import unpack
from antiphon.core.errors import DownloadError


def make_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def make_wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


MAKERS = {"a.tar.gz": make_tar, "a.whl": make_wheel}


@pytest.mark.parametrize("name", MAKERS)
def test_only_wanted_files_are_unpacked(tmp_path, name):
    """Files that no pattern names stay in the archive."""
    MAKERS[name](tmp_path / name, {"p/data/x.json": b"{}", "p/setup.py": b"evil"})

    unpack(tmp_path / name, ["*/data/*.json"], tmp_path / "out")

    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out/p/data/x.json"]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("path", ["../x.json", "a/../../x.json", "/tmp/x.json"])
def test_a_path_that_leads_outside_is_refused(tmp_path, name, path):
    """A member that would land outside the folder stops the unpacking, and nothing is left of it."""
    MAKERS[name](tmp_path / name, {"ok.json": b"{}", path: b"{}"})

    with pytest.raises(DownloadError, match="unsafe path"):
        unpack(tmp_path / name, ["*.json"], tmp_path / "out")

    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_links_are_not_followed(tmp_path):
    """A symbolic link in an archive is not unpacked, whatever its name."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("x.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    with pytest.raises(DownloadError, match="holds no file like"):
        unpack(tmp_path / "a.tar.gz", ["*.json"], tmp_path / "out")


@pytest.mark.parametrize("name", MAKERS)
def test_a_broken_archive_is_said(tmp_path, name):
    """An archive that ends too early is an error, and nothing is left of it."""
    MAKERS[name](tmp_path / name, {"x.json": bytes(range(256)) * 400})
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DownloadError, match="not a readable archive"):
        unpack(tmp_path / name, ["*.json"], tmp_path / "out")

    assert not (tmp_path / "out").exists()
