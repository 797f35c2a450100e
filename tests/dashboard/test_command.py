"""`antiphon dashboard`: the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.cli.dashboard import command_line, is_loopback
from antiphon.dashboard.options import Options, arguments_of, parsed


def settings(command):
    before = command[: command.index("--")]
    return dict(zip(before[5::2], before[6::2], strict=True))


def test_it_listens_where_it_is_told_and_sends_nothing_home():
    """Streamlit runs without a browser of its own and without statistics."""
    found = settings(command_line(Path("runs"), None, "127.0.0.1", 8600))

    assert found["--server.address"] == "127.0.0.1"
    assert found["--server.port"] == "8600"
    assert found["--server.headless"] == "true"
    assert found["--browser.gatherUsageStats"] == "false"


def test_the_page_gets_the_folders():
    """What stands after `--` is what the page reads."""
    command = command_line(Path("/a b/runs"), Path("/home"), "127.0.0.1", 8501)

    arguments = command[command.index("--") + 1 :]

    assert parsed(arguments) == Options(Path("/a b/runs"), Path("/home"))


def test_the_home_folder_is_the_usual_one(monkeypatch):
    """Without --home it is the one that every command uses."""
    monkeypatch.setenv("ANTIPHON_HOME", "/var/antiphon")

    assert parsed(arguments_of(Path("/runs"), None)).home == Path("/var/antiphon")


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("coordinator.example.org", False),
    ],
)
def test_loopback_is_known(host, is_ours):
    """Only addresses of this machine need no warning."""
    assert is_loopback(host) == is_ours


@pytest.mark.slow
def test_another_host_is_warned_of(tmp_path):
    """An address that others reach brings a warning that there is no password."""
    code = "import os, sys; os.execv = lambda *_: sys.exit(0); from antiphon.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "dashboard",
        "--host",
        "0.0.0.0",
        "--runs",
        str(tmp_path),
    ]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "no password" in done.stderr
