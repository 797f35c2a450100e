"""The link goes on until the coordinator has answered, and loses little when the line breaks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import grpc
import pytest
import structlog
from tests.client.daemon.certificates import Authority
from tests.client.daemon.scripted import RUN, Failure, Script, serving
from tests.network.proxy import Proxy, Weather

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import CallRefused, HandInAgain, NotAllowed, StartOver
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.sent.book import Book, sent_folder
from antiphon.core.blob import Blob, blob_of
from antiphon.v1 import coordinator_pb2 as pb

CODE = grpc.StatusCode
CLEAR = Weather()


class Ceilings(Random):
    """Chance that remembers between which bounds it was asked for."""

    def __init__(self) -> None:
        super().__init__(0)
        self.ceilings: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        self.ceilings.append(b)
        return super().uniform(a, b)


Body = Callable[[Script, Link, Proxy], Awaitable[None]]


@asynccontextmanager
async def linked(
    script: Script, weather: Weather, rng: Random
) -> AsyncIterator[tuple[Link, Proxy]]:
    """A link to a scripted coordinator, through a proxy."""
    authority = Authority()
    leaf = authority.client()
    async with serving(script, authority) as port, Proxy(port, weather) as proxy:
        backoff = Backoff(rng, base_s=0.02, cap_s=0.1)
        with TemporaryDirectory() as folder:
            book = Book(sent_folder(Path(folder)), time.time)
            link = Link(lambda: authority.channel(proxy.address, leaf, book), backoff, Metrics())
            try:
                yield link, proxy
            finally:
                await link.close()


def over_link(body: Body, weather: Weather = CLEAR, rng: Random | None = None) -> Script:
    """Run a test's body with a link, twenty seconds at most; return what the coordinator saw."""

    async def bounded() -> Script:
        script = Script()
        async with asyncio.timeout(20), linked(script, weather, rng or Random(0)) as (link, proxy):
            await body(script, link, proxy)
        return script

    return asyncio.run(bounded())


def a_blob(folder: Path, size: int) -> tuple[Blob, Path]:
    """A file of random bytes, and its description."""
    content = os.urandom(size)
    path = folder / "blob"
    path.write_bytes(content)
    return blob_of(content, "safetensors"), path


@pytest.mark.parametrize(
    "code",
    [CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED, CODE.RESOURCE_EXHAUSTED, CODE.CANCELLED],
)
def test_passing_failures_are_tried_again(code: grpc.StatusCode) -> None:
    """A status that passes by itself is not seen by the caller."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.failures["Hello"].append(Failure(code))

        assert (await link.hello()).run_id == RUN

    assert len(over_link(body).seen("Hello")) == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CODE.FAILED_PRECONDITION, StartOver),
        (CODE.ABORTED, HandInAgain),
        (CODE.UNAUTHENTICATED, NotAllowed),
        (CODE.PERMISSION_DENIED, NotAllowed),
        (CODE.INVALID_ARGUMENT, CallRefused),
    ],
)
def test_final_failures_are_told_once(code: grpc.StatusCode, kind: type[Exception]) -> None:
    """A status that does not pass is raised at once, as what it means."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.failures["Hello"].append(Failure(code))

        with pytest.raises(kind, match="as the test asked"):
            await link.hello()

    assert len(over_link(body).seen("Hello")) == 1


def test_hint_of_the_coordinator_is_kept() -> None:
    """The time to wait that comes with a refusal is waited, not the link's own."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.failures["Hello"].append(Failure(CODE.RESOURCE_EXHAUSTED, hint_ms=3_600_000))

        asking = asyncio.create_task(link.hello())
        await asyncio.wait(
            [asking], timeout=0.5
        )  # its own wait would be a tenth of a second at most
        asking.cancel()

    assert len(over_link(body).seen("Hello")) == 1


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Failure(CODE.RESOURCE_EXHAUSTED, hint_ms=1), ["the coordinator asks to wait; trying on"]),
        (
            Failure(CODE.UNAVAILABLE),
            ["coordinator does not answer; trying on", "coordinator answers again"],
        ),
    ],
)
def test_a_coordinator_that_asks_to_wait_is_not_said_to_be_silent(
    failure: Failure, said: list[str]
) -> None:
    """Whoever waits for a run to open reads why, and not that nobody is there."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.failures["Hello"].append(failure)
        await link.hello()

    with structlog.testing.capture_logs() as entries:
        over_link(body)

    assert [each["event"] for each in entries] == said
    assert entries[0]["reason"] == "as the test asked"


def test_call_waits_for_a_line_that_is_down() -> None:
    """A call that finds no connection is answered when the line is back."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        call = asyncio.create_task(link.hello())
        await asyncio.wait([call], timeout=0.5)
        proxy.weather = Weather()

        assert (await call).run_id == RUN

    over_link(body, Weather(black_hole=True))


def test_download_is_whole_and_has_its_hash(tmp_path: Path) -> None:
    """A blob of several batches arrives byte for byte, and no part file stays."""
    content = os.urandom(3_000_000)

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        await link.download(RUN, script.model(content), tmp_path / "model")

    over_link(body)

    assert (tmp_path / "model").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_download_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    """Over a line that is cut every 300 kB, 1.5 MB arrive with less than half as much again."""
    content = os.urandom(1_500_000)

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.chunk_bytes = 32 << 10
        await link.download(RUN, script.model(content), tmp_path / "model")

        assert proxy.bytes_down < 1.5 * len(content)
        assert proxy.cuts >= 4

    over_link(body, Weather(bytes_per_s=8_000_000, cut_every_bytes=300_000))

    assert (tmp_path / "model").read_bytes() == content


def test_download_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Bytes that an earlier process has left in the part file are not asked for again."""
    content = os.urandom(500_000)
    (tmp_path / "model.part").write_bytes(content[:400_000])

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        await link.download(RUN, script.model(content), tmp_path / "model")

    script = over_link(body)

    assert [request.offset for request in script.seen("Download")] == [400_000]
    assert (tmp_path / "model").read_bytes() == content


def test_wrong_content_is_fetched_from_the_start(tmp_path: Path) -> None:
    """A part file with other bytes is thrown away, and the blob is fetched anew."""
    content = os.urandom(500_000)
    (tmp_path / "model.part").write_bytes(bytes(100_000))

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        await link.download(RUN, script.model(content), tmp_path / "model")

    script = over_link(body)

    assert [request.offset for request in script.seen("Download")] == [100_000, 0]
    assert (tmp_path / "model").read_bytes() == content


def test_coordinator_that_lies_is_given_up(tmp_path: Path) -> None:
    """Content that never has its hash is refused in the end, and nothing of it stays."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        blob = script.model(b"honest")
        script.models[blob.sha256] = b"liar's"

        with pytest.raises(CallRefused, match="not what was named"):
            await link.download(RUN, blob, tmp_path / "model")

    over_link(body)

    assert list(tmp_path.iterdir()) == []


def test_upload_arrives_whole(tmp_path: Path) -> None:
    """The coordinator has every byte when the upload returns."""
    blob, path = a_blob(tmp_path, 2_500_000)

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        await link.upload(RUN, blob, path)

    script = over_link(body)

    assert hashlib.sha256(script.uploads[blob.sha256]).hexdigest() == blob.sha256


def test_upload_over_a_line_that_breaks_costs_little(tmp_path: Path) -> None:
    """1.2 MB at 600 kB/s with a cut every 200 kB arrive with at most 1.3 times their bytes."""
    blob, path = a_blob(tmp_path, 1_200_000)

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        await link.upload(RUN, blob, path)

        assert proxy.cuts >= 5
        assert proxy.bytes_up <= 1.3 * blob.bytes

    script = over_link(body, Weather(bytes_per_s=600_000, cut_every_bytes=200_000))

    assert hashlib.sha256(script.uploads[blob.sha256]).hexdigest() == blob.sha256


def test_upload_that_is_there_is_not_sent_again(tmp_path: Path) -> None:
    """A blob that the coordinator has already is not sent."""
    blob, path = a_blob(tmp_path, 100_000)

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.uploads[blob.sha256] = bytearray(path.read_bytes())

        await link.upload(RUN, blob, path)

    assert over_link(body).seen("Upload") == []


def test_each_attempt_of_an_upload_is_asked_for(tmp_path: Path) -> None:
    """Before a byte of it leaves, with what is missing; a refusal ends the upload."""
    blob, path = a_blob(tmp_path, 100_000)
    asked: list[int] = []

    def allow(missing: int) -> None:
        asked.append(missing)
        if len(asked) == 3:
            raise PermissionError

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.failures["Upload"].extend([Failure(CODE.UNAVAILABLE)] * 5)
        script.uploads[blob.sha256] = bytearray(path.read_bytes()[:30_000])
        with pytest.raises(PermissionError):
            await link.upload(RUN, blob, path, allow=allow)

    script = over_link(body)

    assert asked == [70_000] * 3
    assert len(script.seen("Upload")) == 2


def test_uplink_is_measured(tmp_path: Path) -> None:
    """After an upload the link knows its rate."""
    blob, path = a_blob(tmp_path, 400_000)

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        await link.upload(RUN, blob, path)

        assert link.up_bytes_per_s == pytest.approx(800_000, rel=0.4)

    over_link(body, Weather(bytes_per_s=800_000))


def test_new_channel_lets_the_old_finish() -> None:
    """A call under way survives a change of channel, and the next one uses the new channel."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        waiting = asyncio.create_task(link.next_task(pb.NextTaskRequest(run_id=RUN, wait_ms=1000)))
        await script.until(lambda: script.seen("NextTask"))

        await link.reconnect()
        await link.hello()

        await waiting
        assert proxy.connections == 2

    assert len(over_link(body).seen("NextTask")) == 1


def test_failing_call_is_not_hurried_by_others() -> None:
    """A call that fails again and again backs off, though other calls succeed in between."""

    async def body(script: Script, link: Link, proxy: Proxy) -> None:
        script.failures["SubmitUpdate"].extend([Failure(CODE.UNKNOWN)] * 1000)
        failing = asyncio.create_task(link.submit_update(b""))
        while len(script.seen("SubmitUpdate")) < 6:
            await link.hello()
        failing.cancel()

    rng = Ceilings()
    over_link(body, rng=rng)

    assert rng.ceilings[:5] == [0.02, 0.04, 0.08, 0.1, 0.1]
