"""A coordinator's settings: read, checked, read again."""

from __future__ import annotations

import pytest

from antiphon.core.coordinator_settings import (
    RELOADABLE,
    CoordinatorSettings,
    load_settings,
    reloaded,
)
from antiphon.core.errors import ConfigError


def test_no_file_means_the_defaults():
    """A coordinator needs no settings."""
    assert load_settings(None) == CoordinatorSettings()


def test_a_file_changes_what_it_names(tmp_path):
    """The rest keeps its default."""
    file = tmp_path / "settings.yaml"
    file.write_text("lease_s: 30\nmetrics: null\n")

    settings = load_settings(file)

    assert settings == CoordinatorSettings(lease_s=30.0, metrics=None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("leases: 3", "leases"),
        ("lease_s: 0", "lease_s"),
        ("listen: nowhere", "listen"),
        ("free_disk_floor_mb: -1", "free_disk_floor_mb"),
        ("certificate_ttl_h: 0.02", "certificate_ttl_h"),
        ("certificate_ttl_h: 1.0e+9", "certificate_ttl_h"),
        ("log_level: loud", "log_level"),
        ("- 1", "settings.yaml"),
        ("lease_s: [", "settings.yaml"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, said):
    """A person reads which key is wrong."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=said):
        load_settings(file)


def test_a_missing_file_is_said(tmp_path):
    """The error names the file."""
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_settings(tmp_path / "none.yaml")


def test_what_may_change_is_taken_over_and_the_rest_is_named():
    """An address that differs needs a restart, and keeps its value until then."""
    running = CoordinatorSettings()
    wanted = CoordinatorSettings(lease_s=30.0, max_upload_mb=1.0, listen="127.0.0.1:1")

    settings, fixed = reloaded(running, wanted)

    assert settings == CoordinatorSettings(lease_s=30.0, max_upload_mb=1.0)
    assert fixed == ("listen",)


def test_what_is_reloadable_is_a_setting():
    """No name in the list is a slip of the pen."""
    assert set(CoordinatorSettings.model_fields) >= RELOADABLE


@pytest.mark.parametrize("word", ["none", "None", "~"])
def test_an_address_is_turned_off_in_words(tmp_path, word):
    """What the documentation calls none can be written so."""
    file = tmp_path / "settings.yaml"
    file.write_text(f"enrolment: {word}\nmetrics: {word}\n")

    settings = load_settings(file)

    assert (settings.enrolment, settings.metrics) == (None, None)


def test_what_must_listen_cannot_be_none(tmp_path):
    """A coordinator without an address for its clients serves nobody."""
    file = tmp_path / "settings.yaml"
    file.write_text("listen: none\n")

    with pytest.raises(ConfigError, match="listen: expected HOST:PORT"):
        load_settings(file)
