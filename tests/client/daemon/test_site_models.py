"""A run's model is a name at a site: no path of the run's is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.client.daemon.scripted import CONFIG
from tests.client.daemon.stage import OURS, Stage, over, run_to_the_end

from antiphon.client.assets.names import model_folder
from antiphon.client.daemon.open_run import Declined
from antiphon.client.daemon.settings import ClientSettings, load_settings
from antiphon.client.daemon.site_models import model_here, unnamed
from antiphon.client.worker_process import leave_for

PATHS = ["/etc", "~/models", "./tiny", "../tiny", "a/b/c", "a/..", "a/.ssh", "", "C:\\models", "a/"]


@pytest.mark.parametrize("name", ["tiny", "smollm2-135m", "HuggingFaceTB/SmolLM2-135M", "a/b_1.2"])
def test_names_and_hub_ids_are_models(name: str) -> None:
    """They are loaded as they are."""
    assert unnamed({}, name) == ()
    assert model_here({}, name) == name


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_not(name: str) -> None:
    """Whether a folder is there is nobody's business; the owner reads which key would allow it."""
    (reason,) = unnamed({"other": "/models/other"}, name)

    assert reason.code == "policy.model"
    assert "models: {NAME: FOLDER}" in reason.text


def test_a_folder_is_the_owners_choice() -> None:
    """What `models` names is taken, under whatever name the run has for it."""
    models = {"/srv/base": "/opt/base"}

    assert unnamed(models, "/srv/base") == ()
    assert model_here(models, "/srv/base") == "/opt/base"


def test_a_run_that_names_a_path_is_declined(stage: Stage) -> None:
    """Before the trainer is asked; the code is the same whether the path is there or not."""

    async def body(stage: Stage) -> None:
        for path in (str(stage.folder), "/nowhere"):
            stage.script.config = {**CONFIG, "model": {"model_name_or_path": path}}
            with pytest.raises(Declined) as declined:
                await stage.session.run()
            assert declined.value.codes == ("policy.model",)

    stage.play(body)

    assert stage.requests("prepare") == []


def test_the_trainer_gets_the_owners_folder(stage: Stage) -> None:
    """In place of the run's name for it."""
    models = {"tiny": "/opt/tiny"}
    stage.settings = ClientSettings.model_validate({"data": OURS, "models": models})
    stage.script.give(over())

    stage.play(run_to_the_end)

    (asked,) = stage.requests("prepare")
    assert asked["config"]["model"] == {"model_name_or_path": "/opt/tiny"}


def test_a_folder_beside_the_settings_is_found(tmp_path: Path) -> None:
    """A relative path is taken from the settings' folder."""
    (tmp_path / "base").mkdir()
    file = tmp_path / "client.yaml"
    file.write_text("data: {dataset: x}\nmodels: {tiny: base, other: gone}")

    models = load_settings(file).models

    assert models == {"tiny": str(tmp_path / "base"), "other": "gone"}


def test_a_worker_finds_no_folder_under_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the daemon's that is called as a hub's model is does not count as one."""
    (tmp_path / "owner" / "model").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", "cache")
    assert isinstance(model_folder("owner/model"), Path)

    leave_for(str(tmp_path / "empty"))

    assert model_folder("owner/model") == "owner/model"
    assert os.environ["HF_HOME"] == str(tmp_path / "cache")
