"""The units: systemd takes every line of them, and finds them well closed."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.files import UNITS, system_tool, unit_values

MOST_EXPOSED = {"antiphon-coordinator": 15, "antiphon-client": 25}
"""Tenths of systemd's score, which goes from 0 (closed) to 100 (open)."""


def analyze(*arguments):
    command = [system_tool("systemd-analyze", "systemd"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def here(tmp_path):
    """Return a unit as it would be with the project installed where this Python is."""

    def adapted(unit):
        antiphon = str(Path(sys.executable).with_name("antiphon"))
        file = tmp_path / unit.name
        file.write_text(unit.read_text().replace("/opt/antiphon/bin/antiphon", antiphon))
        return file

    return adapted


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_every_line(unit, here):
    """`systemd-analyze verify` has nothing to say, not even of a key that it would skip."""
    done = analyze("verify", "--man=no", here(unit))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_closed(unit, here):
    """`systemd-analyze security` scores the unit below its threshold."""
    threshold = MOST_EXPOSED[unit.stem]

    done = analyze("security", "--offline=true", f"--threshold={threshold}", here(unit))

    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_has_a_user_of_its_own(unit):
    """No unit runs as root."""
    assert unit_values(unit, "User") == ["antiphon"]


def test_the_client_keeps_its_gpu():
    """The client's unit has none of the settings that hide or close the devices of a GPU."""
    (unit,) = [unit for unit in UNITS if unit.stem == "antiphon-client"]

    closing = ("PrivateDevices", "DevicePolicy", "DeviceAllow", "MemoryDenyWriteExecute")
    found = [key for key in (*closing, "ProcSubset", "PrivateUsers") if unit_values(unit, key)]

    assert found == []
    assert unit_values(unit, "ProtectClock") == ["no"]
