"""The operator's page names the series that the programs measure."""

import re

import pytest
from tests.deploy.files import PAGE

from antiphon.client.daemon.metrics import Metrics
from antiphon.server.coordinator.metrics import CoordinatorMetrics

TEXT = PAGE.read_text(encoding="utf-8")
REGISTRIES = (CoordinatorMetrics().registry, Metrics().registry)


def series():
    """Return every series as Prometheus stores it, with its labels."""
    for registry in REGISTRIES:
        for each in registry.collect():
            yield each.name + ("_total" if each.type == "counter" else "")


@pytest.mark.parametrize("name", sorted(series()))
def test_a_series_is_in_the_table(name):
    """Each series of either registry has a row."""
    assert re.search(rf"^\| `{name}`", TEXT, re.MULTILINE)


def test_no_series_is_made_up():
    """No row is of a series that is not there."""
    rows = re.findall(r"^\| `(antiphon_\w+)`", TEXT, re.MULTILINE)

    assert set(rows) == set(series())
