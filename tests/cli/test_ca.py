"""`antiphon ca`: a fleet that has lost its ledger or its root."""

import io

import pytest
from rich.console import Console

from antiphon.cli.ca import init_authority, new_ledger
from antiphon.cli.clients import create_token, list_clients
from antiphon.core.identity import IdentityError
from antiphon.dashboard.fleet_view import members_of
from antiphon.server.enrolment.fleet import open_fleet


@pytest.fixture
def quiet() -> Console:
    """Where nobody looks."""
    return Console(file=io.StringIO())


@pytest.fixture
def home(tmp_path, quiet):
    """The home of a fleet with a token."""
    init_authority("ward", tmp_path, quiet)
    create_token("north", 1, "1h", "hub:8471", None, tmp_path, quiet)
    return tmp_path


def commands(home, quiet):
    """Return what opens the ledger: the coordinator, and the commands beside it."""
    return [
        lambda: open_fleet(home),
        lambda: create_token("south", 1, "1h", "hub:8471", None, home, quiet),
        lambda: list_clients(home, quiet, as_json=False),
    ]


@pytest.mark.parametrize("number", range(3))
def test_no_command_makes_a_lost_ledger_anew(home, quiet, number):
    """Each of them says that it is lost."""
    (home / "fleet" / "fleet.sqlite").unlink()

    with pytest.raises(IdentityError, match="the fleet's ledger is lost"):
        commands(home, quiet)[number]()

    assert not (home / "fleet" / "fleet.sqlite").exists()


def test_a_new_ledger_is_made_when_it_is_asked_for(home, quiet):
    """It knows nobody, and the fleet can be opened again."""
    (home / "fleet" / "fleet.sqlite").unlink()

    new_ledger(home, quiet)

    fleet = open_fleet(home)
    assert fleet.ledger.clients() == []
    fleet.close()


def test_a_ledger_that_is_there_is_kept(home, quiet):
    """A new one would forget every revocation."""
    before = (home / "fleet" / "fleet.sqlite").read_bytes()

    with pytest.raises(IdentityError, match="would forget every client"):
        new_ledger(home, quiet)

    assert (home / "fleet" / "fleet.sqlite").read_bytes() == before


def test_a_folder_without_a_fleet_gets_no_ledger(tmp_path, quiet):
    """There is nothing that it could be of."""
    with pytest.raises(IdentityError, match="no fleet in"):
        new_ledger(tmp_path, quiet)


def test_a_lost_key_is_no_reason_to_make_a_new_root(home, quiet):
    """`antiphon ca init` refuses where a ledger shows that there was one."""
    for name in ("root.key", "root.pem", "roots.pem"):
        (home / "fleet" / name).unlink()

    with pytest.raises(IdentityError, match=r"files already \(fleet\.sqlite\)"):
        init_authority("ward", home, quiet)
    with pytest.raises(IdentityError, match=r"root is lost: .*fleet\.sqlite beside it"):
        open_fleet(home)


def test_the_dashboard_makes_none(home):
    """Neither where the file is empty."""
    (home / "fleet" / "fleet.sqlite").write_bytes(b"")

    with pytest.raises(IdentityError, match="is lost"):
        members_of(home)
