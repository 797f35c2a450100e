"""Uploads on a real disk: cut anywhere, resumed, hostile."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core.blob import Blob, blob_of
from antiphon.core.errors import UpdateError
from antiphon.core.run_folder import RunFolder
from antiphon.server.coordinator.spool import NoRoom, NotAnnounced, Spool, Superseded

CONTENT = bytes(range(256)) * 40
BLOB = blob_of(CONTENT, "safetensors")
OTHER = blob_of(CONTENT[::-1], "safetensors")


class Cut(Exception):
    """The line is gone."""


def spool_in(path: Path, max_bytes: int = 1 << 30, floor_bytes: int = 0) -> Spool:
    return Spool(RunFolder(path), max_bytes=max_bytes, floor_bytes=floor_bytes)


async def pieces(content: bytes, size: int = 1000, cut: bool = False) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
    if cut:
        raise Cut


async def send(spool: Spool, content: bytes = CONTENT, blob: Blob = BLOB, offset: int = 0, **how):
    """Send `content` as the part of `blob` that begins at `offset`."""
    return await spool.receive("north", blob, offset, pieces(content, **how))


async def announced(path: Path, blob: Blob = BLOB, **settings) -> Spool:
    spool = spool_in(path, **settings)
    await spool.announce("north", blob)
    return spool


def stored(path: Path, blob: Blob = BLOB) -> bytes:
    return RunFolder(path).upload_file("north", blob.sha256).read_bytes()


@settings(max_examples=40)
@given(
    content=st.binary(min_size=1, max_size=5000),
    cuts=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500), st.booleans()), max_size=6),
)
def test_content_arrives_bit_for_bit_whatever_the_cuts(content, cuts):
    """Cut after any byte, in messages of any size, with a new coordinator in between or not."""
    blob = blob_of(content, "safetensors")

    async def scenario(path: Path):
        spool = await announced(path, blob)
        for length, size, restart in cuts:
            spool = await announced(path, blob) if restart else spool
            offset = await spool.arrived("north", blob)
            part = content[offset : offset + length]
            with suppress(Cut):
                await spool.receive("north", blob, offset, pieces(part, size, cut=True))
            assert await spool.arrived("north", blob) == offset + len(part)
        offset = await spool.arrived("north", blob)
        return await spool.receive("north", blob, offset, pieces(content[offset:]))

    with TemporaryDirectory() as folder:
        path = Path(folder)
        assert asyncio.run(scenario(path)) == len(content)
        assert stored(path, blob) == content


def test_a_large_upload_arrives_bit_for_bit(tmp_path):
    """Batches that are written while the next ones arrive keep their order."""
    content = os.urandom(5 << 20)
    blob = blob_of(content, "safetensors")

    async def scenario():
        spool = await announced(tmp_path, blob)
        return await spool.receive("north", blob, 0, pieces(content, 256 << 10))

    assert asyncio.run(scenario()) == len(content)
    assert stored(tmp_path, blob) == content


def test_the_disk_begins_while_an_upload_arrives(tmp_path, monkeypatch):
    """By its end the system has been told of every byte, so that the sync has little to wait for."""
    content = os.urandom(5 << 20)
    blob = blob_of(content, "safetensors")
    begun: list[tuple[int, int]] = []

    def begin(descriptor: int, offset: int, size: int) -> None:
        begun.append((offset, size))

    monkeypatch.setattr("antiphon.core.write_back.begin", begin)

    async def scenario():
        spool = await announced(tmp_path, blob)
        await send(spool, content, blob, size=256 << 10)

    asyncio.run(scenario())

    ends = [0, *(offset + size for offset, size in begun)]
    assert [offset for offset, _ in begun] == ends[:-1]
    assert ends[-1] == len(content)
    assert len(begun) >= 5


def test_content_of_another_hash_is_refused_and_begins_again(tmp_path):
    """As many bytes as named, but other ones: the reason names both hashes, and nothing is kept."""

    async def scenario():
        spool = await announced(tmp_path)
        with pytest.raises(UpdateError, match=BLOB.sha256):
            await send(spool, CONTENT[::-1])
        return await spool.arrived("north", BLOB), await send(spool)

    assert asyncio.run(scenario()) == (0, len(CONTENT))
    assert stored(tmp_path) == CONTENT


def test_an_upload_longer_than_named_is_refused(tmp_path):
    """The disk takes no byte more than the message names."""

    async def scenario():
        spool = await announced(tmp_path)
        with pytest.raises(UpdateError, match="longer than the 10240 bytes"):
            await send(spool, CONTENT + b"x")

    asyncio.run(scenario())

    assert sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()) <= BLOB.bytes


@pytest.mark.parametrize("offset", [1, 999, 1001, len(CONTENT), 2**63, 2**64 - 1])
def test_an_upload_goes_on_where_it_stopped_and_nowhere_else(tmp_path, offset):
    """Another offset is refused with the right one."""

    async def scenario():
        spool = await announced(tmp_path)
        await send(spool, CONTENT[:1000])
        with pytest.raises(UpdateError, match="expected 1000"):
            await send(spool, CONTENT[1000:], offset=offset)
        return await send(spool, CONTENT[1000:], offset=1000)

    assert asyncio.run(scenario()) == len(CONTENT)


def test_what_nobody_announced_is_refused(tmp_path):
    """Neither another blob nor another client's may be sent, nor asked about."""

    async def scenario():
        spool = await announced(tmp_path)
        with pytest.raises(NotAnnounced):
            await send(spool, CONTENT[::-1], OTHER)
        with pytest.raises(NotAnnounced):
            await spool.arrived("south", BLOB)

    asyncio.run(scenario())

    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_another_blob_replaces_the_one_before(tmp_path):
    """A client has one upload: what it had sent of the last one is gone."""

    async def scenario():
        spool = await announced(tmp_path)
        await send(spool, CONTENT[:1000])
        await spool.announce("north", OTHER)
        with pytest.raises(NotAnnounced):
            await spool.arrived("north", BLOB)
        return await spool.announce("north", BLOB)

    assert asyncio.run(scenario()) == 0


def test_a_whole_upload_is_not_sent_again(tmp_path):
    """Announced again, by the same coordinator or the next, it is all here."""

    async def scenario():
        spool = await announced(tmp_path)
        await send(spool)
        here = await spool.announce("north", BLOB)
        return here, await spool_in(tmp_path).announce("north", BLOB), await send(spool, b"")

    assert asyncio.run(scenario()) == (len(CONTENT),) * 3


def test_a_part_that_is_full_but_has_no_name_yet_is_finished(tmp_path):
    """A crash between the last byte and its name costs nothing."""
    part = RunFolder(tmp_path).uploads("north") / f"{BLOB.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)

    async def scenario():
        return await spool_in(tmp_path).announce("north", BLOB)

    assert asyncio.run(scenario()) == len(CONTENT)
    assert stored(tmp_path) == CONTENT


@pytest.mark.parametrize("rest", [CONTENT[::-1], CONTENT + b"x"])
def test_a_full_part_of_other_content_begins_again(tmp_path, rest):
    """What a power loss left behind is not taken for the upload."""
    part = RunFolder(tmp_path).uploads("north") / f"{BLOB.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(rest)

    async def scenario():
        spool = spool_in(tmp_path)
        return await spool.announce("north", BLOB), await send(spool)

    assert asyncio.run(scenario()) == (0, len(CONTENT))


@pytest.mark.parametrize("size", [0, 10_001, 2**64 - 1])
def test_an_upload_of_another_size_than_allowed_is_refused(tmp_path, size):
    """Before its first byte: by the size that it names."""

    async def scenario():
        await announced(tmp_path, Blob(BLOB.sha256, size, "safetensors"), max_bytes=10_000)

    with pytest.raises(UpdateError, match=f"an upload of {size} bytes, expected 1 to 10000"):
        asyncio.run(scenario())


def test_the_disk_keeps_a_floor_free(tmp_path):
    """An upload that would reach into it is to be tried again later; then it goes on."""

    async def scenario():
        spool = spool_in(tmp_path)
        # Far above: what others free on this disk meanwhile must not matter.
        spool.floor_bytes = 2 * spool.free_bytes()
        with pytest.raises(NoRoom, match="MB free"):
            await spool.announce("north", BLOB)
        spool.floor_bytes = 0
        await spool.announce("north", BLOB)
        return await send(spool)

    assert asyncio.run(scenario()) == len(CONTENT)


def test_an_upload_ends_at_the_floor_and_goes_on_later(tmp_path):
    """Several uploads that each found room can be too much together: what arrived is kept."""

    async def filling(spool: Spool):
        yield CONTENT[:4000]
        spool.floor_bytes = spool.free_bytes() * 2
        yield CONTENT[4000:8000]

    async def scenario():
        spool = await announced(tmp_path)
        with pytest.raises(NoRoom):
            await spool.receive("north", BLOB, 0, filling(spool))
        spool.floor_bytes = 0
        here = await spool.arrived("north", BLOB)
        return here, await send(spool, CONTENT[here:], offset=here)

    here, total = asyncio.run(scenario())

    assert 4000 <= here < len(CONTENT)
    assert total == len(CONTENT)
    assert stored(tmp_path) == CONTENT


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system take a part of a write that goes beyond, as a disk does that becomes full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_the_disk_takes_half_of_is_not_counted_whole(tmp_path):
    """What is said to have arrived is on the disk, also where it becomes full in the middle of a write."""

    async def scenario():
        spool = await announced(tmp_path)
        with largest_file(3000), suppress(OSError):
            await send(spool)
        here = await spool.arrived("north", BLOB)
        return here, await send(spool, CONTENT[here:], offset=here)

    assert asyncio.run(scenario()) == (3000, len(CONTENT))
    assert stored(tmp_path) == CONTENT


async def halfway(spool: Spool, upto: int = 4000) -> asyncio.Task[int]:
    """An upload that has sent its first bytes and then says nothing."""
    sent = asyncio.Event()

    async def stalled():
        yield CONTENT[:upto]
        sent.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(spool.receive("north", BLOB, 0, stalled()))
    await asyncio.wait_for(sent.wait(), 5.0)
    return task


def test_a_newer_upload_ends_the_one_before_without_loss(tmp_path):
    """A client that is back on a new line goes on with all that the old line had brought."""

    async def scenario():
        spool = await announced(tmp_path)
        before = await halfway(spool)
        here = await spool.arrived("north", BLOB)
        ended = isinstance(before.exception(), Superseded)
        return ended, here, await send(spool, CONTENT[here:], offset=here)

    assert asyncio.run(scenario()) == (True, 4000, len(CONTENT))
    assert stored(tmp_path) == CONTENT


def test_uploads_that_come_together_do_not_mix(tmp_path):
    """However many lines a client sends on at once: a file has the content that its name says."""

    async def late(content: bytes, after: asyncio.Task[int]):
        await asyncio.wait([after])
        yield content

    async def scenario():
        spool = await announced(tmp_path)
        before = await halfway(spool)
        rest, wrong = CONTENT[4000:], b"x" * (len(CONTENT) - 4000)
        right = asyncio.ensure_future(send(spool, rest, offset=4000))
        await asyncio.gather(
            right,
            spool.receive("north", BLOB, 4000, late(wrong, right)),
            before,
            return_exceptions=True,
        )
        here = await spool.announce("north", BLOB)
        return here + len(CONTENT[here:]) == await send(spool, CONTENT[here:], offset=here)

    assert asyncio.run(scenario())
    assert stored(tmp_path) == CONTENT


def test_a_full_part_is_finished_once_however_many_ask(tmp_path):
    """Questions that come together after a crash all get an answer."""
    part = RunFolder(tmp_path).uploads("north") / f"{BLOB.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)

    async def scenario():
        spool = spool_in(tmp_path)
        asked = [spool.announce("north", BLOB) for _ in range(4)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [each for each in answers if not isinstance(each, Superseded)]

    answers = asyncio.run(scenario())

    assert set(answers) == {len(CONTENT)}


def test_what_became_an_update_is_removed(tmp_path):
    """A spool holds what is on its way, and nothing else."""

    async def scenario():
        spool = await announced(tmp_path)
        await send(spool)
        spool.forget("north", BLOB)
        with pytest.raises(NotAnnounced):
            await spool.arrived("north", BLOB)

    asyncio.run(scenario())

    assert not RunFolder(tmp_path).uploads("north").exists()


def test_forgetting_an_old_upload_leaves_the_new_one(tmp_path):
    """A word about an update that was answered long ago takes nothing from the one on its way."""

    async def scenario():
        spool = await announced(tmp_path)
        await send(spool, CONTENT[:1000])
        spool.forget("north", OTHER)
        return await spool.arrived("north", BLOB)

    assert asyncio.run(scenario()) == 1000


def test_an_upload_larger_than_its_task_is_refused(tmp_path):
    """What a task can come to bounds its upload, where that is less than any upload may have."""

    async def scenario():
        await spool_in(tmp_path).announce("north", BLOB, most=BLOB.bytes - 1)

    with pytest.raises(UpdateError, match=f"expected 1 to {BLOB.bytes - 1}"):
        asyncio.run(scenario())


def test_nothing_stays_of_a_client_that_has_left(tmp_path):
    """Its files are removed, and what it had announced is not waited for any more."""

    async def scenario():
        spool = await announced(tmp_path)
        with suppress(Cut):
            await send(spool, CONTENT[:5000], cut=True)
        await spool.clear("north")
        with pytest.raises(NotAnnounced):
            await send(spool)
        return RunFolder(tmp_path).uploads("north").exists()

    assert not asyncio.run(scenario())


def test_leaving_ends_an_upload_in_progress(tmp_path):
    """What is still arriving is ended, and does not come back to the disk."""

    async def forever() -> AsyncIterator[bytes]:
        yield CONTENT[:1000]
        await asyncio.Event().wait()

    async def scenario():
        spool = await announced(tmp_path)
        upload = asyncio.ensure_future(spool.receive("north", BLOB, 0, forever()))
        while not spool._at_work:  # noqa: ASYNC110 (no event tells of it)
            await asyncio.sleep(0)
        await spool.clear("north")
        with pytest.raises(Superseded):
            await upload
        return RunFolder(tmp_path).uploads("north").exists()

    assert not asyncio.run(scenario())
