"""Names in a config become strategies, checked against their signatures."""

import pytest

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
    """What a member cannot do without is said."""
    with pytest.raises(ConfigError, match="field"):
        registry.build("partition", "field", {})
