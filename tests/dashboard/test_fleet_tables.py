"""Clients and their certificates."""

import time

import pytest

from antiphon.core.home import fleet_folder
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.fleet_tables import SOON_S, clients, expiry_warning, members
from antiphon.dashboard.fleet_view import members_of
from antiphon.dashboard.shelf import Shelf
from antiphon.dashboard.standing import Live
from antiphon.server.enrolment.ledger import Issued, Ledger, ledger_file

NOW = 1_800_000_000.0


@pytest.fixture
def home(tmp_path):
    """A fleet: `early` whose certificate ends soon, `late` whose does not, `gone` that was revoked."""
    ledger = Ledger(ledger_file(fleet_folder(tmp_path)), new=True)
    for number, (name, until) in enumerate(
        {"early": NOW + SOON_S / 2, "late": NOW + 86_400, "gone": NOW - 1}.items()
    ):
        ledger.saw({name: (NOW - 60, {})})
        issued = Issued(f"{number:02x}", b"key", NOW - 86_400, until, b"der")
        ledger.renew(name, NOW, lambda issued=issued: issued)
    ledger.revoke("gone", NOW)
    ledger.close()
    return tmp_path


def test_the_ledger_is_read(home):
    """Everybody who joined is listed with the end of the certificate."""
    table = members(members_of(home), NOW)

    assert dict(zip(table["client"], table["certificate"], strict=True)) == {
        "early": "2 h left",
        "gone": "revoked",
        "late": "24 h left",
    }


def test_certificates_that_end_soon_are_warned_of(home):
    """Who is not renewed in time is named; who was revoked is not."""
    warning = expiry_warning(members_of(home), NOW)

    assert "early" in warning
    assert "late" not in warning
    assert "gone" not in warning


def test_a_home_without_a_fleet_stays_without_one(tmp_path):
    """Looking for a ledger makes none."""
    assert members_of(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_the_coordinator_says_comes_before_the_journal(recorded_runs):
    """Steps done and the last call are the live coordinator's."""
    view = Shelf().view(RunFolder(recorded_runs / "interrupted"))
    said = {"name": "site-001", "silent_s": 4.2, "working_on": 3, "steps_done": 17}

    table = clients(view, Live("", True, (said,)), time.time()).set_index("client")

    assert table.loc["site-001", "doing"] == "round 3, step 17"
    assert table.loc["site-001", "last seen"] == "4 s ago"
    assert table.loc["site-000", "doing"].startswith("round 3: ")
