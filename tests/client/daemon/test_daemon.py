"""The daemon as a process of its own, before a scripted coordinator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.daemon.certificates import FLEET, Authority
from tests.client.daemon.scripted import CONFIG, Failure, Script, serving
from tests.client.daemon.stage import PATHS, TRAINER, over, train_task
from tests.network.proxy import Proxy

from antiphon.client.daemon.consent import OwnerDecision, decide
from antiphon.client.daemon.identity import Identity, identity_folder, load, save
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.ledger import head_file
from antiphon.core.home import client_folder, private_folder

_MAIN = "from antiphon.cli.main import main; main()"
_HEAVY = ("torch", "numpy", "transformers", "peft", "flwr", "matplotlib", "safetensors")


class Site:
    """A machine that has joined: its home folder, and its daemon's processes."""

    def __init__(self, home: Path, authority: Authority) -> None:
        """Nothing runs yet."""
        self.home, self.authority = home, authority
        self.processes: list[Process] = []
        self.said: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    @property
    def settings(self) -> Path:
        """The site's client.yaml."""
        return client_folder(self.home) / "client.yaml"

    def enrol(self, port: int, life_s: float = 3600.0) -> None:
        """Give the machine an identity and settings."""
        leaf = self.authority.leaf(f"spiffe://{FLEET}/client/edge", server=False, life_s=life_s)
        address = f"127.0.0.1:{port}"
        save(
            identity_folder(self.home),
            Identity(
                fleet=FLEET,
                client="edge",
                coordinator=address,
                enrolment=address,
                certificate=leaf.certificate.decode(),
                roots=self.authority.pem.decode(),
                key=leaf.key.decode(),
            ),
        )
        self.write()

    def write(self, **keys: Any) -> None:
        """Write client.yaml (JSON is YAML)."""
        values = {
            "data": {"dataset": "ours", "format": "text"},
            "log_format": "json",
            "trainer": TRAINER,
        } | keys
        self.settings.write_text(json.dumps(values))

    async def start(self, *arguments: str) -> Process:
        """Start a daemon."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _MAIN,
            "client",
            "--home",
            str(self.home),
            *arguments,
            env={**os.environ, "PYTHONPATH": PATHS},
            stderr=PIPE,
        )
        self.processes.append(process)
        self._reader = asyncio.create_task(self._read(process))
        return process

    async def _read(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode()
            async with self._news:
                self.said.append(json.loads(text) if text.startswith("{") else {"event": text})
                self._news.notify_all()

    async def hears(self, event: str) -> dict[str, Any]:
        """Wait until the daemon has logged an event."""
        async with self._news:
            await self._news.wait_for(lambda: any(event in each["event"] for each in self.said))
        return next(each for each in self.said if event in each["event"])


def resident_kb(pid: int) -> int:
    """Return the memory that a process takes, KiB."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    line = next(line for line in status.read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1])


Body = Callable[[Script, Site, Proxy], Awaitable[None]]


@asynccontextmanager
async def site(home: Path, script: Script, life_s: float) -> AsyncIterator[tuple[Site, Proxy]]:
    """A site and its coordinator; whatever was started is gone afterwards."""
    authority = Authority()
    async with serving(script, authority) as port, Proxy(port) as proxy:
        place = Site(home, authority)
        script.port = proxy.port
        place.enrol(proxy.port, life_s)
        try:
            yield place, proxy
        finally:
            for process in place.processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()


@pytest.fixture
def on_site(tmp_path: Path) -> Callable[..., Script]:
    """Run a test's body with a site, thirty seconds at most."""

    def run(body: Body, life_s: float = 3600.0) -> Script:
        async def bounded() -> Script:
            script = Script()
            async with asyncio.timeout(30), site(tmp_path, script, life_s) as (place, proxy):
                await body(script, place, proxy)
            return script

        return asyncio.run(bounded())

    return run


@pytest.mark.parametrize(("complete", "code"), [(True, 0), (False, 1)])
def test_once_ends_with_the_run(on_site: Callable[..., Script], complete: bool, code: int) -> None:
    """With --once the daemon ends with the run: 0 where it is complete, else 1."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        script.give(train_task(script))
        script.give(over(complete))

        process = await place.start("--once")

        assert await process.wait() == code
        assert len(script.updates) == 1

    on_site(body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_in_mid_training(on_site: Callable[..., Script], number: int) -> None:
    """A stop ends the training, says goodbye and leaves with 0."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        script.config = {**CONFIG, "test": {"steps": 1000, "step_s": 0.05}}
        script.give(train_task(script))
        process = await place.start()
        await script.until(lambda: any(each.steps_done for each in script.seen("NextTask")))

        process.send_signal(number)

        assert await process.wait() == 0
        assert [list(each.codes) for each in script.seen("Leave")] == [["client.stopped"]]

    on_site(body)


def test_stop_without_a_coordinator_is_quick(on_site: Callable[..., Script]) -> None:
    """A coordinator that is away does not keep a daemon from ending: no more than five seconds."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        process = await place.start()
        # A call that begins after the line is gone waits in silence.
        await script.until(lambda: script.seen("NextTask"))
        await proxy.close()
        await place.hears("does not answer")

        process.terminate()

        assert await asyncio.wait_for(process.wait(), 5) == 0

    on_site(body)


def test_update_outlives_a_kill(on_site: Callable[..., Script]) -> None:
    """A daemon that is killed before its answer came sends the same bytes when it is started again."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        script.failures["SubmitUpdate"].extend([Failure(grpc.StatusCode.UNAVAILABLE)] * 50)
        script.give(train_task(script))
        first = await place.start()
        await script.until(lambda: script.seen("SubmitUpdate"))
        first.kill()
        await first.wait()

        script.failures.clear()
        script.give(over())
        second = await place.start("--once")

        assert await second.wait() == 0
        assert [*{each.update for each in script.seen("SubmitUpdate")}] == script.updates

    on_site(body)


def test_settings_are_read_again(on_site: Callable[..., Script]) -> None:
    """SIGHUP brings a new policy in: the run that it forbids is left with the reason."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        script.lease_ms = 300
        process = await place.start()
        await place.hears("joined")
        place.write(policy={"methods": ["seeds"]}, device="cpu")

        process.send_signal(signal.SIGHUP)
        await script.until(lambda: script.seen("Leave"))

        assert list(script.seen("Leave")[0].codes) == ["policy.method"]
        assert (await place.hears("need a restart"))["keys"] == "device"

    on_site(body)


def test_refusal_is_looked_at_again(on_site: Callable[..., Script]) -> None:
    """A run that the policy forbids is joined as soon as the settings allow it."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        place.write(policy={"max_steps": 3})
        process = await place.start()
        await place.hears("taking no part")
        place.write(policy={"max_steps": 4})

        process.send_signal(signal.SIGHUP)

        await script.until(lambda: script.seen("Join"))
        assert script.seen("Leave")[0].run_id == ""

    on_site(body)


def test_an_approval_is_seen_by_the_daemon(on_site: Callable[..., Script]) -> None:
    """Without a signal: the daemon looks, and joins the run that its owner approves while it waits."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        place.write(policy={"approve": "manual"})
        await place.start()
        await place.hears("taking no part")
        await script.until(lambda: script.seen("Leave"))

        folder = client_folder(place.home)
        known = KnownRuns(folder).named(None)
        decide(folder, known.run_id, OwnerDecision("approved", known.digest, 1e9))

        await script.until(lambda: script.seen("Join"))
        assert [list(each.codes) for each in script.seen("Leave")] == [["policy.approval"]]

    on_site(body)


def test_certificate_is_renewed_on_the_way(on_site: Callable[..., Script]) -> None:
    """A certificate past two thirds of its life is exchanged, and calls go on over a new channel."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        before = load(identity_folder(place.home))
        await place.start()

        await place.hears("certificate renewed")
        calls = len(script.seen("NextTask"))
        await script.until(lambda: len(script.seen("NextTask")) > calls)

        after = load(identity_folder(place.home))
        assert after.expires_at > before.expires_at
        assert after.key != before.key

    on_site(body, life_s=100)  # it began five minutes ago: two thirds are over


def test_two_daemons_do_not_share_a_home(on_site: Callable[..., Script]) -> None:
    """A second daemon in the same home ends at once and says why."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        await place.start()
        await place.hears("joined")

        second = await place.start()

        assert await second.wait() == 2
        await place.hears("at work in")

    on_site(body)


def test_machine_that_has_not_joined_is_told(on_site: Callable[..., Script]) -> None:
    """Without an identity the daemon ends with 2 and says what to do."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        (identity_folder(place.home) / "identity.json").unlink()

        process = await place.start()

        assert await process.wait() == 2
        await place.hears("has not joined a fleet")

    on_site(body)


def test_a_damaged_ledger_ends_the_daemon(on_site: Callable[..., Script]) -> None:
    """Where what has left is not written down as it was, nothing more leaves: code 2, and what to do."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        private_folder(sent_folder(client_folder(place.home)))
        head_file(sent_folder(client_folder(place.home))).write_text("{")

        process = await place.start()

        assert await process.wait() == 2
        await place.hears("move the folder away and keep it")
        assert script.calls == []

    on_site(body)


def test_daemon_stays_small(on_site: Callable[..., Script]) -> None:
    """A daemon that waits for work takes less than 90 MB."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        process = await place.start()
        await place.hears("joined")
        await script.until(lambda: len(script.seen("NextTask")) >= 2)

        assert resident_kb(process.pid) < 90_000

    on_site(body)


def test_daemon_imports_nothing_heavy() -> None:
    """The daemon's process loads none of the libraries that train or compute."""
    code = (
        "import sys, antiphon.cli.main, antiphon.cli.client; "
        f"print([name for name in {_HEAVY} if name in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == "[]"


def test_nobody_else_reads_what_a_daemon_keeps(on_site: Callable[..., Script]) -> None:
    """No file or folder that it makes in its home is open to others; the settings are its owner's."""

    async def body(script: Script, place: Site, proxy: Proxy) -> None:
        await place.start()
        await place.hears("joined")

        kept = [each for each in client_folder(place.home).rglob("*") if each.name != "client.yaml"]

        assert client_folder(place.home) / "daemon.lock" in kept
        assert [each for each in kept if each.stat().st_mode & 0o077] == []

    on_site(body)
