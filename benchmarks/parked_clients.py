"""What waiting clients cost a coordinator, and how soon they are back after it was killed.

    python -m benchmarks.parked_clients [--clients 10000]        memory and processor while they wait
    python -m benchmarks.parked_clients --storm [--clients 1000] kill -9, five seconds away, back again

Each client has its own certificate, its own connection over mutual TLS, and uses the daemon's own calls.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.network.fleet import ROOT, ProcessFleet

from antiphon.core.space import SpaceShapes
from antiphon.server.enrolment.fleet import Fleet, open_fleet
from antiphon.server.enrolment.registrar import Registrar
from antiphon.server.enrolment.tokens import new_token, written
from antiphon.server.folding.space_file import write_space
from benchmarks.network_round import config
from benchmarks.swarm import SHAPES

_PROCESSES = 4
_DOWN_S = 5.0
_WATCH_S = 40.0


class Swarm:
    """Processes full of clients."""

    def __init__(self, fleet: ProcessFleet, count: int) -> None:
        """Enrol and start them."""
        opened = open_fleet(fleet.home)
        everybody = [identity(opened, f"client-{number}") for number in range(count)]
        opened.close()
        self._children: list[subprocess.Popen[bytes]] = []
        for number in range(_PROCESSES):
            file = fleet.folder / f"swarm-{number}.json"
            share = everybody[number::_PROCESSES]
            file.write_text(json.dumps({"fleet": "fleet", "clients": share}))
            address = f"127.0.0.1:{fleet.ports['listen']}"
            command = [sys.executable, "-m", "benchmarks.swarm", address, str(file)]
            out = (fleet.folder / f"swarm-{number}.out").open("w")
            self._children.append(subprocess.Popen(command, stdout=out, cwd=ROOT))
        self._outputs = [fleet.folder / f"swarm-{number}.out" for number in range(_PROCESSES)]

    def state(self) -> list[dict[str, Any]]:
        """Return each process's newest line."""
        texts = [each.read_text().rpartition("\n")[0] for each in self._outputs]
        return [json.loads(each.rpartition("\n")[2]) for each in texts if each]

    def wait_joined(self, count: int, timeout_s: float = 300.0) -> float:
        """Wait until all have joined; return the seconds that it took."""
        start = time.monotonic()
        while time.monotonic() - start < timeout_s:
            if sum(each["joined"] for each in self.state()) >= count:
                return time.monotonic() - start
            time.sleep(0.25)
        raise TimeoutError(f"not all have joined: {self.state()}")

    def close(self) -> None:
        """End them."""
        for child in self._children:
            child.kill()
            child.wait()


def identity(fleet: Fleet, name: str) -> dict[str, str]:
    """Enrol a client; return its key and certificates, PEM."""
    registrar = Registrar(
        fleet.authority, fleet.ledger, time.time, fleet.random, coordinator_port=1
    )
    token = new_token(name, 1, time.time() + 600, fleet.random)
    fleet.ledger.add_token(token)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    answer = registrar.enrol(written(token), signed)
    pem = x509.load_der_x509_certificate(answer.certificate).public_bytes(Encoding.PEM)
    roots = [
        x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in answer.roots
    ]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "name": name,
        "key": private.decode(),
        "certificate": pem.decode(),
        "roots": b"".join(roots).decode(),
    }


def parked(fleet: ProcessFleet, count: int) -> None:
    """Measure the coordinator with so many waiting clients."""
    coordinator = psutil.Process(fleet.processes["coordinator"].pid)
    swarm = Swarm(fleet, 4)
    swarm.wait_joined(4)
    before = coordinator.memory_info().rss
    swarm.close()
    time.sleep(1)
    swarm = Swarm(fleet, count)
    try:
        joining = swarm.wait_joined(count)
        time.sleep(30)
        cpu = coordinator.cpu_times()
        start = time.monotonic()
        time.sleep(_WATCH_S)
        used = coordinator.cpu_times()
        share = (used.user + used.system - cpu.user - cpu.system) / (time.monotonic() - start)
        grown = coordinator.memory_info().rss - before
        here = sum(each["present"] for each in fleet.status()["clients"])
        print("| Clients | Held | Joined in | Memory each | Coordinator | CPU while they wait |")
        print("|---|---|---|---|---|---|")
        print(
            f"| {count} | {here} | {joining:.0f} s | {grown / count / 1024:.0f} KiB | "
            f"{coordinator.memory_info().rss / 1e6:.0f} MB | {share:.0%} of a core |"
        )
    finally:
        swarm.close()


def storm(fleet: ProcessFleet, count: int) -> None:
    """Kill the coordinator under its clients; measure how soon all have been answered again."""
    swarm = Swarm(fleet, count)
    try:
        swarm.wait_joined(count)
        time.sleep(10)
        fleet.kill("coordinator")
        fleet.run_folder.live_file.unlink()
        time.sleep(_DOWN_S)
        fleet.serve(resume=True)
        fleet.wait_until_served()
        back = time.time()
        oldest = 0.0
        while oldest < back and time.time() < back + 120:
            time.sleep(0.1)
            oldest = min(each["oldest"] for each in swarm.state())
        status = fleet.status()
        waiting = sum(each["in_round"] == "assigned" for each in status["clients"])
        print("| Clients | Away | All answered after | Round | Its clients still at work |")
        print("|---|---|---|---|---|")
        print(
            f"| {count} | {_DOWN_S:.0f} s | {oldest - back:.1f} s | {status['round']}, "
            f"{status['phase']} | {waiting} |"
        )
    finally:
        swarm.close()


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int)
    parser.add_argument("--storm", action="store_true")
    given = parser.parse_args()
    count = given.clients or (1_000 if given.storm else 10_000)
    with tempfile.TemporaryDirectory() as folder:
        fleet = ProcessFleet(
            Path(folder), config(5, count if given.storm else 10 * count, "factors")
        )
        try:
            # Said by the operator: a majority of so many that must ask at once would hold the others up.
            file = Path(folder) / "space.json"
            write_space(file, SpaceShapes(SHAPES, {}, "tiny", 1, bytes(32).hex()))
            fleet.serve(settings={"log_level": "warning"}, space=file)
            fleet.wait_until_served()
            (storm if given.storm else parked)(fleet, count)
        finally:
            fleet.close()


if __name__ == "__main__":
    main()
