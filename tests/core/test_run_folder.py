"""Where a run lies, and which one is resumed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core import run_folder
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RoundPlanned, RunEnded, Ticked
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, file_name_of

HASH = "0123abcd"


def values(name: str = "quickstart", **others: Any) -> dict[str, Any]:
    """Return a small resolved config."""
    return {"name": name, "rounds": 3, "lora": {"r": 8}, "output": {"runs_dir": "runs"}, **others}


def create(runs: Path, name: str = "quickstart") -> RunFolder:
    """Make a run of the test's config."""
    return run_folder.create(runs, name, values(name), HASH)


def resume(runs: Path, config_hash: str = HASH, **others: Any) -> RunFolder:
    """Open the newest run, as with the test's config and these changes of it."""
    return run_folder.open_for_resume(runs, "quickstart", values(**others), config_hash)


def test_folders_are_numbered(tmp_path: Path) -> None:
    """The first run has its name for a folder, the next ones a number behind it."""
    made = [create(tmp_path / "runs").path.name for _ in range(3)]

    assert made == ["quickstart", "quickstart-2", "quickstart-3"]


def test_number_is_not_given_again(tmp_path: Path) -> None:
    """Removing an old run does not make a new one look older than the last."""
    first, second = create(tmp_path), create(tmp_path)
    first.config_file.unlink()
    first.path.rmdir()

    assert create(tmp_path).path.name == "quickstart-3"
    assert second.path.exists()


def test_config_is_a_run_yaml(tmp_path: Path) -> None:
    """config.yaml holds the values and nothing else: the hash stands in a comment."""
    folder = create(tmp_path)

    assert yaml.safe_load(folder.config_file.read_text()) == values()
    assert folder.config_hash() == HASH


def test_layout(tmp_path: Path) -> None:
    """The paths in a run folder are those that other programs rely on."""
    folder = RunFolder(tmp_path)

    paths = [folder.journal_file, folder.adapter(7), folder.state_file(0), folder.report_json]
    paths += [folder.update_file(12345, "north"), folder.report_md, folder.plots]

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        *("journal.sqlite", "rounds/0007/adapter", "rounds/0000/state.safetensors"),
        *("report.json", "rounds/12345/updates/north.bin", "report.md", "plots"),
    ]


def test_resume_finds_the_newest(tmp_path: Path) -> None:
    """Of several runs of a name, the last one is resumed, past the ninth too."""
    for _ in range(11):
        create(tmp_path)

    assert resume(tmp_path).path.name == "quickstart-11"


def test_names_that_look_numbered(tmp_path: Path) -> None:
    """A run that is called like the second run of another is not taken for it."""
    create(tmp_path, "quickstart")
    create(tmp_path, "quickstart-2")

    assert resume(tmp_path).path.name == "quickstart"
    assert create(tmp_path, "quickstart").path.name == "quickstart-3"


def test_folder_without_config_is_passed_over(tmp_path: Path) -> None:
    """A run that was cut off before its config was written is not resumed."""
    create(tmp_path)
    (tmp_path / "quickstart-2").mkdir()

    assert resume(tmp_path).path.name == "quickstart"


@pytest.mark.parametrize("runs", ["empty", "missing"])
def test_nothing_to_resume(tmp_path: Path, runs: str) -> None:
    """Without a run of that name there is nothing to resume, and the message says what to do."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(RunFolderError, match=r"no run named 'quickstart'.*Leave out --resume"):
        resume(tmp_path / runs)


def test_other_config_is_refused(tmp_path: Path) -> None:
    """A run of another config is not resumed; the keys that differ are named with both values."""
    create(tmp_path)

    with pytest.raises(RunFolderError) as caught:
        resume(tmp_path, "ffff", lora={"r": 16}, seed=1, output={"runs_dir": "elsewhere"})

    assert "lora.r (8 there, 16 here), seed (not set there, 1 here). " in str(caught.value)


def test_many_differences_are_counted(tmp_path: Path) -> None:
    """Of very many differing keys, the first are named and the others counted."""
    create(tmp_path)

    with pytest.raises(RunFolderError, match="and 5 more"):
        resume(tmp_path, "ffff", lora={"r": 8, **{f"key{n:02}": n for n in range(15)}})


def test_other_hash_of_equal_values(tmp_path: Path) -> None:
    """Equal values with another hash were written by another version, and that is said."""
    create(tmp_path)

    with pytest.raises(RunFolderError, match="another version"):
        resume(tmp_path, "ffff")


def test_complete_run_is_not_resumed(tmp_path: Path) -> None:
    """A run whose journal tells of its complete end is not resumed."""
    folder = create(tmp_path)
    with Journal.writing(folder.journal_file) as journal:
        journal.append_many([Ticked(), RunEnded(complete=True, reason="all rounds are over")], 0.0)

    with pytest.raises(RunFolderError, match="is complete"):
        resume(tmp_path)


def test_stopped_run_is_resumed(tmp_path: Path) -> None:
    """A run that stopped before its last round can be resumed."""
    folder = create(tmp_path)
    with Journal.writing(folder.journal_file) as journal:
        journal.append(RunEnded(complete=False, reason="too many failed rounds"), 0.0)

    assert resume(tmp_path) == folder


@pytest.mark.parametrize("text", ["rounds: 3\n", "# config hash: no!\n", ""])
def test_foreign_config_is_said(tmp_path: Path, text: str) -> None:
    """A config.yaml without our hash is not trusted."""
    folder = create(tmp_path)
    folder.config_file.write_text(text)

    with pytest.raises(RunFolderError, match="should begin with"):
        folder.config_hash()


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00"])
def test_broken_config_is_said(tmp_path: Path, text: str) -> None:
    """A config.yaml that holds no keys and values is said to be broken."""
    folder = create(tmp_path)
    folder.config_file.write_text(text)

    with pytest.raises(RunFolderError, match=r"config\.yaml"):
        folder.config_values()


def test_failed_creation_leaves_no_folder(tmp_path: Path) -> None:
    """If the config cannot be written, no empty folder is left to be counted as a run."""
    with pytest.raises(yaml.YAMLError):
        run_folder.create(tmp_path, "quickstart", values(seed=object()), HASH)

    assert list(tmp_path.iterdir()) == []


def test_place_that_is_a_file(tmp_path: Path) -> None:
    """If the folder of runs is a file, the message says to choose another place."""
    (tmp_path / "runs").write_text("")

    with pytest.raises(RunFolderError, match=r"choose another output\.runs_dir"):
        create(tmp_path / "runs")


def test_plain_names_stay_readable() -> None:
    """A simple name of a client is its file's name."""
    assert file_name_of("site-3_b.local") == "site-3_b.local"


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc/passwd", "/root", "a\0b", "~", "%2e"])
def test_no_way_out_of_the_folder(name: str) -> None:
    """Whatever a client is called, its file lies in the folder of updates."""
    file = RunFolder(Path("run")).update_file(1, name)

    assert file.parent == Path("run/rounds/0001/updates")
    assert not file.name.startswith(".")


@given(st.text(max_size=200), st.text(max_size=200))
def test_file_names_are_unique(one: str, two: str) -> None:
    """Two clients never share a file, also where the file system ignores the case."""
    assert (file_name_of(one).lower() == file_name_of(two).lower()) == (one == two)


@given(st.text(max_size=300))
def test_file_names_are_short_and_plain(name: str) -> None:
    """A file name is short ASCII without a separator, and lower case."""
    made = file_name_of(name)

    assert 0 < len(made) <= 150
    assert made.isascii()
    assert made == made.lower()
    assert "/" not in made


def test_names_that_differ_only_in_case() -> None:
    """`North` and `north` are two clients and get two files."""
    assert file_name_of("North").lower() != file_name_of("north").lower()


FREE_VALUES = {
    "name": "free",
    "rounds": 3,
    "seed": 1,
    "cohort": {"deadline_s": 60.0},
    "evaluation": {"deadline_s": 60.0},
}


@pytest.mark.parametrize(
    "change",
    [{"rounds": 9}, {"cohort": {"deadline_s": 5.0}}, {"evaluation": {"deadline_s": 5.0}}],
)
def test_what_decides_nothing_about_the_past_may_change(tmp_path, change):
    """The folder's config is the new one afterwards."""
    run_folder.create(tmp_path, "free", FREE_VALUES, "0")

    folder = run_folder.open_for_resume(tmp_path, "free", {**FREE_VALUES, **change}, "1")

    assert folder.config_hash() == "1"
    assert folder.config_values() == {**FREE_VALUES, **change}


def test_anything_else_is_refused_and_nothing_written(tmp_path):
    """Also beside what may change."""
    folder = run_folder.create(tmp_path, "free", FREE_VALUES, "0")

    with pytest.raises(RunFolderError, match="seed"):
        run_folder.open_for_resume(tmp_path, "free", {**FREE_VALUES, "rounds": 9, "seed": 2}, "1")

    assert folder.config_values() == FREE_VALUES


def test_rounds_cannot_be_fewer_than_were_planned(tmp_path):
    """The least number that can be is named."""
    folder = run_folder.create(tmp_path, "free", FREE_VALUES, "0")
    with Journal.writing(folder.journal_file) as journal:
        journal.append(RoundPlanned(2, ("a",), 1, 60.0), 0.0)

    with pytest.raises(RunFolderError, match="Set rounds to 2 or more"):
        run_folder.open_for_resume(tmp_path, "free", {**FREE_VALUES, "rounds": 1}, "1")
