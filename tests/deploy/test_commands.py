"""What deploy/ and the operator's page tell people to type is what the command line takes."""

import warnings

import pytest
from tests.deploy.command_lines import every_line

LINES = every_line()


def root():
    with warnings.catch_warnings():
        # typer imports names that click is about to drop; its users cannot mend that.
        warnings.simplefilter("ignore", DeprecationWarning)
        from typer.main import get_command

        from antiphon.cli.main import app
    return get_command(app)


def is_of_a_later_version(words):
    return words[:1] == ["dashboard"] and "dashboard" not in root().commands


def test_lines_are_found():
    """Every kind of file has at least one command line to check."""
    found = {where.split()[0] for where, _ in LINES}

    assert found == {
        *("Dockerfile.client", "Dockerfile.coordinator", "compose", "kubernetes"),
        *("antiphon-client.service", "antiphon-coordinator.service"),
        *("enrol-and-run", "operations.md"),
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("where", "words"), LINES, ids=lambda each: str(each)[:60])
def test_the_command_line_takes_it(where, words):
    """`antiphon` parses the words: the command exists, and each option and argument of it."""
    if is_of_a_later_version(words):
        assert where == "compose dashboard"
        return
    command = root()

    # A group that has a command of its own takes options where the name of one would stand.
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    context = command.make_context("antiphon", list(words))

    assert context.args == []


def test_every_command_for_operators_is_on_the_page():
    """The page shows each command that a fleet is run with."""
    shown = {" ".join(words[:2]) for where, words in LINES if where == "operations.md"}

    assert {"ca init", "token create", "clients list", "clients revoke"} <= shown
    assert {"serve", "join", "client", "status"} <= {each.partition(" ")[0] for each in shown}
