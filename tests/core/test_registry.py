"""Names in a config become strategies, checked against their signatures."""

import math
from importlib.metadata import entry_points

import pytest
from tests.plugins import installed, write_distribution

from antiphon.core import registry
from antiphon.core.errors import ConfigError


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_has_members(kind):
    """No kind is empty, and every member can be loaded and has a documented first line."""
    for name in registry.members(kind):
        assert registry.factory(kind, name).__doc__

    assert registry.members(kind)


def test_unknown_names_list_what_is_installed():
    """A misspelt name is answered with the members and the nearest one."""
    with pytest.raises(
        ConfigError, match=r"no server_opt 'yogy'; installed: adam.*Did you mean 'yogi'"
    ):
        registry.build("server_opt", "yogy", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"l": 1.0}, r"takes \(.*lr.*not \['l'\]"), ({"lr": "fast"}, "sgd.lr.*'fast'")],
)
def test_wrong_arguments_are_explained(arguments, message):
    """The error shows the signature, or the value that does not fit."""
    with pytest.raises(ConfigError, match=message):
        registry.build("server_opt", "sgd", arguments)


def test_missing_arguments_are_named():
    """What a member cannot do without is said, with its type and how to write it."""
    message = r"policy: staged needs \(stages: list\[.*\): write {kind: staged, stages: …}"
    with pytest.raises(ConfigError, match=message):
        registry.build("policy", "staged", {})


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_arguments_are_finite(value):
    """No member is made with a number that is none."""
    with pytest.raises(ConfigError, match=r"sgd\.lr.*finite"):
        registry.build("server_opt", "sgd", {"lr": value})


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("no_such_module:codec", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("antiphon.core.registry:no_such_codec", "AttributeError: .*no_such_codec"),
        ("antiphon.core.registry:KINDS", "TypeError: .* is not a callable"),
    ],
)
def test_a_member_that_cannot_be_loaded_is_explained(tmp_path, monkeypatch, target, cause):
    """The error names the distribution, the entry point and the cause."""
    write_distribution(tmp_path, "broken-extras", f"[antiphon.codec]\nbroken = {target}\n")

    with installed(tmp_path, monkeypatch):
        assert "broken" in registry.members("codec")
        with pytest.raises(ConfigError, match=f"broken-extras .*{target}.*{cause}.*uninstall"):
            registry.build("codec", "broken", {})


def test_a_member_that_cannot_be_loaded_does_not_concern_the_others(tmp_path, monkeypatch):
    """What is not asked for is not loaded."""
    write_distribution(tmp_path, "broken-extras", "[antiphon.codec]\nbroken = nowhere:codec\n")

    with installed(tmp_path, monkeypatch):
        assert registry.build("codec", "ecdq", {"bits": 1.0})


def test_a_name_registered_twice_is_refused(tmp_path, monkeypatch):
    """Nobody can tell which of the two a config means, so neither is taken."""
    listed = "[antiphon.scheduler]\nrandom = antiphon.strategies.scheduling.everyone:everyone\n"
    write_distribution(tmp_path, "other-extras", listed)

    with installed(tmp_path, monkeypatch):
        with pytest.raises(ConfigError) as raised:
            registry.build("scheduler", "random", {})
        assert registry.build("scheduler", "all", {})

    assert "antiphon (" in str(raised.value)
    assert "other-extras (antiphon.strategies.scheduling.everyone:everyone)" in str(raised.value)


def test_metadata_found_twice_is_no_second_registration(tmp_path, monkeypatch):
    """An editable install may leave the same entry point of the same distribution in two places."""
    (ours,) = [each for each in entry_points(group="antiphon.scheduler") if each.name == "random"]
    monkeypatch.setattr(registry, "entry_points", lambda group: [ours, ours])

    with installed(tmp_path, monkeypatch):
        assert registry.build("scheduler", "random", {})
