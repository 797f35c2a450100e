"""The dashboard in a real browser, beside a live run on the network."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.network.fleet import ANTIPHON, NUMPY_TRAINER, ROOT, ProcessFleet, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.network]

FACTORS = {
    "base_model.model.q_proj.lora_A.weight": [4, 16],
    "base_model.model.q_proj.lora_B.weight": [16, 4],
}
ROUNDS = 6
STEP_S = 0.3
CLOSED_MS = 180_000  # in which a round must close on the page, on a machine however busy
CLIENTS = ("ada", "bea")


@contextmanager
def live_run(folder: Path) -> Iterator[ProcessFleet]:
    """A coordinator that waits for two daemons; `start_clients` makes rounds of about two seconds."""
    values = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text()) | {
        "name": "live",
        "rounds": ROUNDS,
        "method": "lora",
        "lora": {"r": 4, "target_modules": "all-linear"},
        "training": {"max_steps": 6, "learning_rate": 1e-2},
        "cohort": {"min_clients": 2},
    }
    fleet = ProcessFleet(folder, values)
    try:
        fleet.serve()
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        yield fleet
    finally:
        fleet.close()


def start_clients(fleet: ProcessFleet) -> None:
    data = fleet.folder / "data.json"
    data.write_text(json.dumps({"examples": 10, "step_s": STEP_S, "factors": FACTORS}))
    for name in CLIENTS:
        fleet.client(name, data, trainer=NUMPY_TRAINER)


@contextmanager
def dashboard(runs: Path, home: Path) -> Iterator[str]:
    """`antiphon dashboard` as a process; the address of its page."""
    (port,) = free_ports(1)
    command = [*ANTIPHON, "dashboard", "--runs", str(runs), "--home", str(home)]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, "the dashboard has ended"
            assert time.monotonic() < until, "no dashboard within a minute"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def browser_page() -> Iterator[Any]:
    """A page of the system's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: apt-get install chromium (make system-tools does it)"
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that a container does not give.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_a_round_closes_on_the_page_without_a_touch(tmp_path):
    """An open page follows a live run over the network to its end; nobody clicks or reloads."""
    with (
        live_run(tmp_path) as fleet,
        dashboard(tmp_path / "runs", fleet.home) as address,
        browser_page() as page,
    ):
        page.goto(f"{address}/run?run=live")
        page.get_by_text("the run has not started").first.wait_for(timeout=CLOSED_MS)
        loaded = page.evaluate("performance.timeOrigin")
        start_clients(fleet)

        page.get_by_text(re.compile(rf"^[1-{ROUNDS}]/{ROUNDS}$")).first.wait_for(timeout=CLOSED_MS)
        page.get_by_text("complete: all rounds are over").wait_for(timeout=CLOSED_MS)

        assert page.evaluate("performance.timeOrigin") == loaded  # it was never loaded again


def test_a_click_on_a_run_opens_it(recorded_runs, tmp_path):
    """The list leads to each run, and the address names it; the browser asks no other host."""
    hosts = set[str]()
    with dashboard(recorded_runs, tmp_path) as address, browser_page() as page:
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(address)
        page.get_by_test_id("stDataFrame").locator("canvas").first.wait_for(timeout=CLOSED_MS)
        page.get_by_test_id("stDataFrame").click(position={"x": 60, "y": 50})
        page.get_by_test_id("stVegaLiteChart").first.wait_for(timeout=CLOSED_MS)
        opened = page.url

    assert "/run?run=" in opened
    assert hosts == {address.removeprefix("http://")}


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
