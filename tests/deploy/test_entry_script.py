"""The script of the client's image: joins once, then is the daemon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.files import SCRIPT


@pytest.fixture
def started(tmp_path):
    """Run the script with the real command line, in a home of the test's own."""

    def run(**variables):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {"PATH": path, "ANTIPHON_HOME": str(tmp_path), **variables}
        # A terminal of 80 columns would wrap what is said.
        settled = {**given, "COLUMNS": "200", "PYTHONWARNINGS": "ignore"}
        return subprocess.run(
            ["sh", SCRIPT], env=settled, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("not.used\n")
    return str(file)


def test_it_says_what_is_not_set(started):
    """Without an identity and without a token's file, the variable is named."""
    done = started()

    assert done.returncode == 2
    assert "ANTIPHON_TOKEN_FILE" in done.stderr


def test_the_daemon_is_not_started_where_joining_fails(started, token):
    """A coordinator that cannot be reached ends the script with the command's own code and words."""
    done = started(
        ANTIPHON_TOKEN_FILE=token,
        ANTIPHON_ENROLMENT="127.0.0.1:1",
        ANTIPHON_CA=f"sha256:{'0' * 64}",
    )

    assert done.returncode == 2
    assert "cannot reach the enrolment service at 127.0.0.1:1" in done.stderr
    assert "client.yaml" not in done.stderr


def test_an_identity_is_not_joined_again(started, tmp_path):
    """Where there is an identity, the daemon is started, and no token is asked for."""
    identity = tmp_path / "client" / "identity" / "identity.json"
    identity.parent.mkdir(parents=True)
    identity.write_text("{}")

    done = started()

    assert done.returncode == 2
    assert "client.yaml" in done.stderr
    assert "ANTIPHON_TOKEN_FILE" not in done.stderr
