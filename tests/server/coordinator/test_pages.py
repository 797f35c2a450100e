"""The coordinator's pages, without a coordinator."""

import json
import math

import pytest
from prometheus_client import CollectorRegistry

from antiphon.server.coordinator.metrics import coordinator_pages


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_the_status_is_json_whatever_clients_say_of_themselves(number):
    """A rate that is no number of JSON is null, and the page can be read by every program."""
    pages = coordinator_pages(CollectorRegistry(), lambda: {"clients": [{"step_s": number}]})

    shown = json.loads(pages["/status"]().body, parse_constant=pytest.fail)

    assert shown == {"clients": [{"step_s": None}]}
