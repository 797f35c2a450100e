from pathlib import Path

import pytest

from antiphon.client.assets.cache import cache_dir
from antiphon.client.assets.names import dataset_file, model_folder
from antiphon.core.errors import DataError, ModelError


def test_the_cache_follows_the_environment(tmp_path):
    """ANTIPHON_CACHE names the cache; without it there is one in the home folder."""
    assert cache_dir({"ANTIPHON_CACHE": str(tmp_path)}) == tmp_path
    assert cache_dir({}) == Path.home() / ".cache" / "antiphon"


def test_a_known_model_is_fetched(tmp_path, monkeypatch):
    """A known name becomes a folder with a config and weights."""
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path))

    folder = model_folder("tiny")

    assert {"config.json", "model.safetensors"} <= {each.name for each in Path(folder).iterdir()}


def test_a_known_data_set_is_fetched(tmp_path, monkeypatch):
    """A known name becomes its JSONL file."""
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path))

    file = dataset_file("tiny")

    assert file is not None
    assert file.name == "rows.jsonl"


def test_a_folder_stays_and_a_hub_id_passes(tmp_path):
    """A folder that exists is used as it is, and so is a hub id."""
    assert model_folder(str(tmp_path)) == tmp_path
    assert model_folder("owner/name") == "owner/name"


@pytest.mark.parametrize("name", ["tinny", "./nowhere", "/nowhere/model.gguf", "a/b/c"])
def test_a_model_that_is_nowhere_is_said(name):
    """A name or path that leads nowhere is an error that lists the known models."""
    with pytest.raises(ModelError, match="smollm2-135m, tiny"):
        model_folder(name)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    """A file is a model only if it is a GGUF file."""
    (tmp_path / "weights.bin").touch()

    with pytest.raises(ModelError, match=r"expected a model folder or a \.gguf file"):
        model_folder(str(tmp_path / "weights.bin"))


def test_other_names_are_no_known_data_set():
    """A name outside the catalogue is none, a model's name an error."""
    assert dataset_file("elsewhere") is None
    with pytest.raises(DataError, match="is a model"):
        dataset_file("smollm2-135m")


@pytest.mark.slow
def test_a_broken_gguf_file_is_said(tmp_path, monkeypatch):
    """A GGUF file that cannot be read is a ModelError naming it, and the cache stays clean."""
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF nonsense")

    with pytest.raises(ModelError, match=r"cannot read .*broken\.gguf"):
        model_folder(str(tmp_path / "broken.gguf"))

    assert not list((tmp_path / "cache").glob("*/model"))
