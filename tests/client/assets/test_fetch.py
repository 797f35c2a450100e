import multiprocessing
import zipfile

import pytest

from antiphon.client.assets.catalogue import Asset, Distribution
from antiphon.client.assets.fetch import fetch, fetch_asset
from antiphon.core.errors import DownloadError
from antiphon.core.files import sha256_of

FILE = "fake_asset-1.0-py3-none-any.whl"


def make_wheel(folder, content="hello"):
    info = "fake_asset-1.0.dist-info/"
    with zipfile.ZipFile(folder / FILE, "w") as wheel:
        wheel.writestr("fake_asset/data.txt", content)
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: fake-asset\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return folder / FILE


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A local folder that is the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def record(sha256, wanted=("fake_asset/*.txt",)):
    distribution = Distribution("fake-asset", "1.0", FILE, sha256, 1000, wanted)
    return Asset("fake", "1", "a fake", "MIT", 1000, dataset="rows.txt", distribution=distribution)


def convert(unpacked, target):
    content = (unpacked / "fake_asset/data.txt").read_text()
    (target / "rows.txt").write_text(content.upper())
    (target / "left_out.txt").write_text("nothing")


def refuse(unpacked, target):
    raise AssertionError("converted again")


def test_a_package_becomes_an_asset(tmp_path, index):
    """A fetch downloads, unpacks and converts, and leaves the result and the notes only."""
    asset = record(sha256_of(make_wheel(index)))

    folder = fetch_asset(asset, convert, tmp_path / "cache")

    assert (folder / "rows.txt").read_text() == "HELLO"
    assert sorted(each.name for each in folder.iterdir()) == [".lock", "left_out.txt", "rows.txt"]


def test_a_complete_asset_is_not_made_again(tmp_path, index):
    """A second fetch needs neither the package nor the conversion."""
    wheel = make_wheel(index)
    asset = record(sha256_of(wheel))
    fetch_asset(asset, convert, tmp_path)
    wheel.unlink()

    folder = fetch_asset(asset, refuse, tmp_path)

    assert (folder / "rows.txt").read_text() == "HELLO"


def test_a_corrupted_package_is_removed_and_said(tmp_path, index):
    """A package with another hash is refused, and nothing of it stays."""
    make_wheel(index)

    with pytest.raises(DownloadError, match=r"corrupted or is another file[\s\S]*removed"):
        fetch_asset(record("0" * 64), convert, tmp_path / "cache")

    assert [each.name for each in (tmp_path / "cache/fake-1").iterdir()] == [".lock"]


def test_a_package_that_cannot_be_had_is_said(tmp_path, index):
    """Without network or package the error says what to check."""
    with pytest.raises(
        DownloadError, match=r"could not download fake-asset 1.0.*Check the network"
    ):
        fetch_asset(record("0" * 64), convert, tmp_path / "cache")


def test_an_interrupted_fetch_goes_on(tmp_path, index):
    """After a conversion that broke off, the next fetch starts from what was unpacked."""
    wheel = make_wheel(index)
    asset = record(sha256_of(wheel))
    with pytest.raises(AssertionError, match="converted again"):
        fetch_asset(asset, refuse, tmp_path)
    wheel.unlink()

    folder = fetch_asset(asset, convert, tmp_path)

    assert (folder / "rows.txt").read_text() == "HELLO"
    assert not (folder / "unpacked").exists()


def test_a_download_that_was_damaged_later_is_fetched_again(tmp_path, index):
    """A finished download whose bytes no longer match is not used."""
    asset = record(sha256_of(make_wheel(index)))
    (tmp_path / "fake-1").mkdir()
    (tmp_path / "fake-1" / FILE).write_bytes(b"damaged")

    folder = fetch_asset(asset, convert, tmp_path)

    assert (folder / "rows.txt").read_text() == "HELLO"


def test_a_package_put_there_by_hand_is_used(tmp_path, index):
    """A file with the right hash needs no download, which serves machines without an index."""
    wheel = make_wheel(index)
    asset = record(sha256_of(wheel))
    (tmp_path / "fake-1").mkdir()
    wheel.rename(tmp_path / "fake-1" / FILE)

    folder = fetch_asset(asset, convert, tmp_path)

    assert (folder / "rows.txt").read_text() == "HELLO"


def test_what_a_killed_fetch_left_is_removed(tmp_path, index):
    """Half-written files of a process that is gone do not stay in the cache."""
    asset = record(sha256_of(make_wheel(index)))
    stale = tmp_path / "fake-1" / ".unpacked.part-1"
    stale.mkdir(parents=True)

    fetch_asset(asset, convert, tmp_path)

    assert not stale.exists()


def test_progress_names_each_stage(tmp_path, index):
    """The caller hears a sentence as each stage begins."""
    said = []

    fetch_asset(record(sha256_of(make_wheel(index))), convert, tmp_path, said.append)

    assert [sentence.split()[0] for sentence in said] == ["downloading", "unpacking", "fake:"]


@pytest.mark.slow
def test_two_processes_fetch_once(tmp_path, index):
    """Two fetches at the same time leave one whole asset."""
    asset = record(sha256_of(make_wheel(index)))
    spawn = multiprocessing.get_context("fork")

    both = [spawn.Process(target=fetch_asset, args=(asset, convert, tmp_path)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()

    assert [each.exitcode for each in both] == [0, 0]
    assert (tmp_path / "fake-1/rows.txt").read_text() == "HELLO"


def test_an_unknown_name_lists_the_known_ones():
    """A name outside the catalogue is an error with the names inside it."""
    with pytest.raises(DownloadError, match="bigbench, smollm2-135m, tiny, vader-reviews"):
        fetch("gpt-17")
