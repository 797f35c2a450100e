"""client.yaml: strict, with paths that hold wherever the daemon is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.client.daemon.data_view import SiteData
from antiphon.client.daemon.settings import ClientSettings, load_settings, reloaded
from antiphon.core.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "client.yaml"
    path.write_text(text)
    return path


def test_shortest_file_is_a_data_set(tmp_path: Path) -> None:
    """A data set is all that must be said; the policy is open."""
    settings = load_settings(written(tmp_path, "data: {dataset: vader-reviews}"))

    assert settings.data == SiteData(dataset="vader-reviews")
    assert settings.policy.methods is None


def test_data_beside_the_file_is_found(tmp_path: Path) -> None:
    """A relative path of a file that exists is taken from the settings' folder."""
    (tmp_path / "rows.jsonl").write_text("{}\n")

    settings = load_settings(written(tmp_path, "data: {dataset: rows.jsonl, format: alpaca}"))

    assert settings.data.dataset == str(tmp_path / "rows.jsonl")


def test_a_name_that_no_file_can_have_is_no_crash(tmp_path: Path) -> None:
    """A data set of a thousand characters is kept as it is; the trainer misses it."""
    settings = load_settings(written(tmp_path, f"data: {{dataset: {'x' * 1000}}}"))

    assert settings.data.dataset == "x" * 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("device: cpu", "data: is required"),
        ("data: {dataset: x}\npolcy: {}", "did you mean 'policy'"),
        ("data: {dataset: x}\npolicy: {hours: late}", "policy.hours"),
        ("data: {dataset: x}\nmetrics: 0.0.0.0:9471", "can be reached by other machines"),
        ("data: {dataset: x}\ntrainer: []", "trainer"),
        ("data: {dataset: x}\ncoordinator: hub", "coordinator: expected HOST:PORT"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, says: str) -> None:
    """A wrong file is refused with the key and what to do."""
    with pytest.raises(ConfigError, match=says):
        load_settings(written(tmp_path, text))


def test_missing_file_says_what_it_should_be(tmp_path: Path) -> None:
    """Without a file, the error says what to write."""
    with pytest.raises(ConfigError, match="a client's settings"):
        load_settings(tmp_path / "client.yaml")


def test_reload_takes_what_may_change() -> None:
    """The policy is taken over; a device is not, and is named."""
    running = ClientSettings(data=SiteData(dataset="x"))
    wanted = ClientSettings.model_validate(
        {"data": {"dataset": "x"}, "device": "cpu", "policy": {"max_steps": 3}}
    )

    settings, ignored = reloaded(running, wanted)

    assert (settings.policy.max_steps, settings.device, ignored) == (3, "auto", ("device",))
