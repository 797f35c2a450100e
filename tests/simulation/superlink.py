"""A SuperLink with SuperNodes on the loopback, in a folder of their own; nothing outlives `close`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.network.fleet import free_ports

_BIN = Path(sys.executable).parent
_HOST = "127.0.0.1"


class SuperLinkFleet:
    """Flower's processes. The folder's `$FLWR_HOME/config.toml` names the SuperLink `lab`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "home").mkdir(parents=True)
        (folder / "work").mkdir()
        (self.port,) = free_ports(1)
        (folder / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "lab"\n\n[superlink.lab]\naddress = "{_HOST}:{self.port}"\n'
            "insecure = true\n"
        )
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, nodes: int, settings: Mapping[int, str] | None = None) -> None:
        """Start a SuperLink and nodes. settings: of a node, instead of its part of the split."""
        plain = ["--insecure"]
        self._start(
            "superlink",
            [
                "flower-superlink",
                *plain,
                "--port",
                str(self.port),
                "--disable-runtime-dependency-installation",
            ],
        )
        for number, port in enumerate(free_ports(nodes)):
            given = (settings or {}).get(number, f"partition-id={number} num-partitions={nodes}")
            self._start(
                f"node-{number}",
                [
                    "flower-supernode",
                    *plain,
                    "--superlink",
                    f"{_HOST}:{self.port}",
                    "--port",
                    str(port),
                    "--node-config",
                    given,
                ],
            )
        self._wait_until_served(60)

    def run(self, app: Path, run_config: str, timeout_s: float) -> str:
        """Give an app to the SuperLink, wait for its end and return the log."""
        command = [str(_BIN / "flwr"), "run", str(app), "lab", "--stream"]
        done = subprocess.run(
            [*command, "--run-config", run_config],
            cwd=self.folder / "work",
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return done.stdout + done.stderr

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """Kill what is left, with its children."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(_BIN / command[0]), *command[1:]],
                cwd=self.folder / "work",
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "FLWR_HOME": str(self.folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{_BIN}:{os.environ['PATH']}",
        }

    def _wait_until_served(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            with socket.socket() as tried:
                if tried.connect_ex((_HOST, self.port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"no SuperLink within {timeout_s} s:\n{self.log('superlink')}")
