"""What `antiphon strategies` lists."""

import io
import json

import pytest
from rich.console import Console
from tests.plugins import installed, write_distribution

from antiphon.cli.strategies import list_strategies

BROKEN = "[antiphon.codec]\nbroken = no_such_module:codec\n"


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100)


def test_a_member_that_cannot_be_loaded_is_told_apart(tmp_path, monkeypatch, console, capsys):
    """All the others are listed, and what is wrong with this one is said beside them."""
    write_distribution(tmp_path, "broken-extras", BROKEN)

    with installed(tmp_path, monkeypatch):
        list_strategies(as_json=True, console=console)

    listed = json.loads(capsys.readouterr().out)
    assert {"ecdq", "float32"} <= set(listed["codec"])
    assert "broken" not in listed["codec"]
    assert "'broken' of broken-extras" in console.file.getvalue()
    assert "No module named 'no_such_module'" in console.file.getvalue()


def test_a_member_without_documentation_is_listed(tmp_path, monkeypatch, console, capsys):
    """Its line is empty; the table is not lost for it."""
    (tmp_path / "silent_extras.py").write_text("def silent(): ...\n")
    write_distribution(
        tmp_path, "silent-extras", "[antiphon.codec]\nsilent = silent_extras:silent\n"
    )

    with installed(tmp_path, monkeypatch):
        list_strategies(as_json=False, console=console)

    assert "silent" in capsys.readouterr().out
    assert console.file.getvalue() == ""
