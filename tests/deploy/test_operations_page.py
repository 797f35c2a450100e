"""The operator's page says what the programs say: series, settings, ports."""

import re

import pytest
from tests.deploy.files import PAGE

from antiphon.client.daemon import settings as client_settings
from antiphon.client.daemon.data_view import LocalData
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.policy import Policy
from antiphon.client.daemon.tell import Tell
from antiphon.core import coordinator_settings
from antiphon.core.coordinator_settings import CoordinatorSettings
from antiphon.server.coordinator.metrics import CoordinatorMetrics

TEXT = PAGE.read_text(encoding="utf-8")
REGISTRIES = (CoordinatorMetrics().registry, Metrics().registry)


def series():
    """Return every series as Prometheus stores it, with its labels."""
    for registry in REGISTRIES:
        for each in registry.collect():
            yield each.name + ("_total" if each.type == "counter" else "")


def shown(value):
    if isinstance(value, list | dict):
        return "empty" if not value else None
    return "none" if value is None else f"`{value}`"


def keys():
    for model in (CoordinatorSettings, client_settings.ClientSettings, Policy, Tell, LocalData):
        for name, field in model.model_fields.items():
            if name not in ("data", "policy", "tell", "trainer", "dataset"):
                yield name, shown(field.get_default(call_default_factory=True))


@pytest.mark.parametrize("name", sorted(series()))
def test_a_series_is_in_the_table(name):
    """Each series of either registry has a row."""
    assert re.search(rf"^\| `{name}`", TEXT, re.MULTILINE)


def test_no_series_is_made_up():
    """No row is of a series that is not there."""
    rows = re.findall(r"^\| `(antiphon_\w+)`", TEXT, re.MULTILINE)

    assert set(rows) == set(series())


@pytest.mark.parametrize(("key", "default"), list(keys()), ids=str)
def test_a_setting_is_in_a_table_with_its_default(key, default):
    """Each setting of either half has a row with the default that the code has."""
    rows = re.findall(rf"^\| `(?:policy\.|tell\.|data\.)?{key}` \| (.*?) \|", TEXT, re.MULTILINE)

    assert default in rows


def test_what_can_be_reloaded_is_marked():
    """A setting that SIGHUP takes over says so in its row, and no other does."""
    marked = set(re.findall(r"^\| `([\w.]+)` .*\| yes \|$", TEXT, re.MULTILINE))

    reloadable = coordinator_settings.RELOADABLE | client_settings.RELOADABLE
    policy = {f"policy.{name}" for name in Policy.model_fields}
    assert marked == (reloadable - {"policy"}) | policy
