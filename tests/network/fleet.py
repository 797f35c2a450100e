"""A fleet of real processes on the loopback: `antiphon serve`, `antiphon client`, real certificates.

For the tests of engines, crashes and networks, and for the benchmarks. The ports are chosen once, so that
a coordinator that was killed comes back where its clients look for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from antiphon.client.daemon.identity import identity_folder
from antiphon.client.daemon.join import join
from antiphon.core.home import client_folder
from antiphon.core.identity import pin_of
from antiphon.core.run_folder import RunFolder
from antiphon.server.enrolment.authority import create_authority, read_root
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.server.enrolment.ledger import Ledger, ledger_file
from antiphon.server.enrolment.tokens import new_token, written

ROOT = Path(__file__).parents[2]
NUMPY_TRAINER = [sys.executable, "-m", "tests.network.numpy_trainer"]
ANTIPHON = [sys.executable, "-m", "antiphon.cli.main"]


class ProcessFleet:
    """Processes in a folder of their own; `close` kills what is left."""

    def __init__(self, folder: Path, run: Mapping[str, Any], *, homes: Path | None = None) -> None:
        """run: the run's config, plain values; its runs_dir is replaced; homes: of clients, elsewhere."""
        self.folder, self._homes = folder, homes or folder / "homes"
        folder.mkdir(parents=True, exist_ok=True)
        self.run_file = folder / "run.yaml"
        values = {**run, "output": {**run.get("output", {}), "runs_dir": str(folder / "runs")}}
        self.run_file.write_text(yaml.safe_dump(values, sort_keys=False))
        self.name = str(run["name"])
        self.home = folder / "coordinator"
        self.ports = dict(zip(("listen", "enrolment", "metrics"), free_ports(3), strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        create_authority(self.home / "fleet", "fleet", None, time.time())
        Ledger(ledger_file(self.home / "fleet"), new=True).close()

    @property
    def run_folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.folder / "runs" / self.name)

    def serve(
        self,
        *,
        resume: bool = False,
        command: Sequence[str] = ANTIPHON,
        settings: Mapping[str, Any] | None = None,
        space: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the coordinator. space: what the run trains, as its operator says."""
        values = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        file = self.folder / "settings.yaml"
        file.write_text(yaml.safe_dump({**values, "drain_s": 2.0, **(settings or {})}))
        arguments = ["serve", str(self.run_file), "--settings", str(file), "--home", str(self.home)]
        flag = ["--resume"] if resume else []
        flag += ["--space", str(space)] if space else []
        return self._start("coordinator", [*command, *arguments, *flag])

    def wait_until_served(self, timeout_s: float = 30.0) -> None:
        """Return when the coordinator listens."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            self._check_alive("coordinator")
            if self.run_folder.live_file.exists() and _answers(self.ports["listen"]):
                return
            time.sleep(0.02)
        raise TimeoutError(f"no coordinator within {timeout_s} s:\n{self.log('coordinator')}")

    def enrol(self, *names: str) -> None:
        """Let clients join by the front door of the running coordinator."""
        fleet = open_fleet(self.home)
        try:
            pin = pin_of(read_root(fleet.folder))
            for name in names:
                token = new_token(name, 1, time.time() + 600, fleet.random)
                fleet.ledger.add_token(token)
                address = f"127.0.0.1:{self.ports['enrolment']}"
                folder = identity_folder(self.home_of(name))
                asyncio.run(join(address, written(token), pin, folder, force=False))
        finally:
            fleet.close()

    def client(
        self,
        name: str,
        dataset: Path,
        *,
        once: bool = True,
        command: Sequence[str] = ANTIPHON,
        **settings: Any,
    ) -> subprocess.Popen[bytes]:
        """Start an enrolled client's daemon."""
        file = client_folder(self.home_of(name)) / "client.yaml"
        data = {
            "dataset": str(dataset),
            "accept": ["format", "eval_examples", "max_train_examples"],
        }
        tell = {"examples": "exact"}
        loose = {"min_examples": 1, "min_batch": 1, "max_passes": None, "max_example_share": 1.0}
        values = {"data": data, "tell": tell, "policy": loose, "log_format": "json", **settings}
        file.write_text(yaml.safe_dump(values))
        arguments = ["client", "--home", str(self.home_of(name)), "--config", str(file)]
        return self._start(name, [*command, *arguments, *(["--once"] if once else [])])

    def home_of(self, name: str) -> Path:
        """Return a client's home folder."""
        return self._homes / name

    def log(self, name: str) -> str:
        """Return what a process has said so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def status(self) -> dict[str, Any]:
        """Ask the coordinator where the run stands."""
        import urllib.request

        address = f"http://127.0.0.1:{self.ports['metrics']}/status"
        with urllib.request.urlopen(address, timeout=5) as answer:
            status: dict[str, Any] = json.load(answer)
        return status

    def wait(self, name: str, timeout_s: float = 120.0) -> int:
        """Wait for a process to end; return its exit status."""
        try:
            return self.processes[name].wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{name} is still there:\n{self.log(name)[-6000:]}") from None

    def close(self) -> None:
        """Kill what is left."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()

    def _start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True
            )
        self.processes[name] = process
        return process

    def _check_alive(self, name: str) -> None:
        if self.processes[name].poll() is not None:
            raise ChildProcessError(f"{name} has ended:\n{self.log(name)[-6000:]}")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
