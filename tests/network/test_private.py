"""What a run leaves on either side: for its owner's eyes only, and the same at a site as where it went."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data

from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.reading import left, lines, verify
from antiphon.core.events import UpdateReceived
from antiphon.core.home import client_folder
from antiphon.core.journal import Journal


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessFleet]:
    """A coordinator and its clients, started with a umask of nothing and at work on two rounds."""
    folder = tmp_path_factory.mktemp("fleet")
    before = os.umask(0)
    fleet = ProcessFleet(
        folder, {**run_config("lora", 2), "output": {"keep_updates": True, "plots": False}}
    )
    try:
        fleet.serve(settings={"log_format": "json"})
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client, file in write_data(folder, "lora").items():
            fleet.client(client, file, trainer=NUMPY_TRAINER)
        assert fleet.wait("coordinator", 60) == 0, fleet.log("coordinator")[-3000:]
        yield fleet
    finally:
        os.umask(before)
        fleet.close()


@pytest.mark.slow
def test_nothing_that_a_run_leaves_can_be_read_by_others(fleet: ProcessFleet) -> None:
    """Run folder (updates, states, journal, report) and the homes of both sides: no bit for others."""
    homes = [fleet.run_folder.path, fleet.home, *map(fleet.home_of, CLIENTS)]
    found = [each for home in homes for each in [home, *home.rglob("*")]]
    left_by_the_test = {"client.yaml", "settings.yaml"}
    open_to_others = [
        str(each)
        for each in found
        if each.stat().st_mode & 0o077 and each.name not in left_by_the_test
    ]
    assert any(each.suffix == ".bin" for each in found)
    assert open_to_others == []


@pytest.mark.slow
def test_the_ledgers_of_the_sites_are_the_coordinators_journal(fleet: ProcessFleet) -> None:
    """Each update that the coordinator counted is in its client's ledger: round, hash, bytes, verdict."""
    with Journal.reading(fleet.run_folder.journal_file) as journal:
        events = [entry.event for entry in journal.read()]
    received = [each for each in events if isinstance(each, UpdateReceived)]

    for client in CLIENTS:
        assert fleet.wait(client) == 0, fleet.log(client)[-3000:]
        folder = sent_folder(client_folder(fleet.home_of(client)))
        assert verify(folder).newer == 0
        size: dict[int | None, int] = defaultdict(int)
        digests = {}
        for each in left(lines(folder)):
            if each.what.method == "SubmitUpdate" and each.verdict == "accepted":
                digests[each.what.round] = each.what.sha256
                size[each.what.round] += each.bytes
            elif each.what.method == "Upload":
                size[each.what.round] += each.bytes
        ours = [each for each in received if each.client == client]
        assert digests == {each.round: each.digest for each in ours}
        assert {number: size[number] for number in digests} == {e.round: e.bytes for e in ours}
