"""What a run trains, where that is known before anybody joins."""

from dataclasses import replace

import pytest
from tests.server.coordinator.conftest import SPACE

from antiphon.core.config import config_hash, resolved
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RunStarted
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.server.coordinator.known_space import known_space
from antiphon.server.folding.space_file import write_space
from antiphon.server.planning.agreement import claim_of


@pytest.fixture
def begun(tiny_config, tmp_path):
    """The folder, the journal and the config of a run that has begun."""
    config = tiny_config("lora.r=4")
    folder = create(tmp_path / "runs", "run", resolved(config), config_hash(config))
    with Journal.writing(folder.journal_file) as journal:
        journal.append(RunStarted("run", "0", 2, 2, 3, space=claim_of(SPACE)), 0.0)
        yield folder, journal, config


def test_the_folders_file_says_it(begun):
    """The operator need not say it again."""
    write_space(begun[0].space_file, SPACE)

    assert known_space(None, *begun) == SPACE


def test_a_lost_file_is_said(begun):
    """The clients are not asked what a run trains that has begun."""
    with pytest.raises(
        RunFolderError, match=r"space\.json is missing: restore it, or write it with"
    ):
        known_space(None, *begun)


def test_a_damaged_file_is_said(begun):
    """With the way to write it again."""
    begun[0].space_file.write_text("{")

    with pytest.raises(RunFolderError, match="is damaged"):
        known_space(None, *begun)


@pytest.mark.parametrize("damage", ["", "{"])
def test_the_operator_can_replace_it(begun, damage):
    """What is given stands in for the file; the journal tells whether it is the same."""
    if damage:
        begun[0].space_file.write_text(damage)

    assert known_space(replace(SPACE, base_model="elsewhere"), *begun) == SPACE


def test_before_a_run_has_begun_its_clients_say_it(begun):
    """A journal of an older version, which holds no hash, is one of these too."""
    folder, _, config = begun
    with Journal.writing(folder.path / "empty.sqlite") as empty:
        assert known_space(None, folder, empty, config) is None
