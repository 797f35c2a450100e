"""What `antiphon serve` says last."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ProcessFleet]:
    """A coordinator of one round, and its clients, which hand in anything."""
    fleet = ProcessFleet(tmp_path, run_config("lora", 1))
    try:
        fleet.serve(settings={"log_format": "json"})
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client, file in write_data(tmp_path, "lora").items():
            fleet.client(client, file, trainer=NUMPY_TRAINER)
        yield fleet
    finally:
        fleet.close()


@pytest.mark.slow
def test_a_stranger_leaves_no_line_of_grpcs_own(fleet: ProcessFleet) -> None:
    """A connection without a certificate is refused; the log stays one that programs can read."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", fleet.ports["listen"]), 10) as line,
        suppress(OSError),
        context.wrap_socket(line) as stranger,
    ):
        stranger.recv(100)

    assert fleet.wait("coordinator", 60) == 0
    raw = [
        each for each in fleet.log("coordinator").splitlines() if re.match(r"[IWEF]\d{4} ", each)
    ]
    assert raw == []


@pytest.mark.slow
def test_the_end_of_a_real_run_is_told(fleet: ProcessFleet) -> None:
    """As after a simulation: the report and the adapter, by their paths."""
    assert fleet.wait("coordinator", 60) == 0, fleet.log("coordinator")[-3000:]

    said = fleet.log("coordinator").splitlines()
    run = fleet.run_folder
    assert said[-2:] == [f"report:  {run.report_md}", f"adapter: {run.adapter(1)}"]
