"""Whole rounds over mutual TLS, with clients that do as they are told."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.server.coordinator.conftest import sites

from antiphon.v1 import coordinator_pb2 as pb

VERDICT = pb.SubmitUpdateResponse


@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_a_run_goes_from_join_to_report(serve, method):
    """Two clients train two rounds and measure after each; both hear that the run is complete."""

    async def scenario():
        async with serve(f"method={method}", "rounds=2") as running:
            async with sites(running, "north", "south") as both:
                for site in both:
                    await site.join()
                for _ in range(2):
                    await asyncio.gather(*(site.work_a_round() for site in both))
                    await asyncio.gather(*(site.measure() for site in both))
                over = await asyncio.gather(*(site.next("over") for site in both))
                await running.task
            return over, json.loads(running.folder.report_json.read_text())

    over, report = asyncio.run(scenario())

    assert [each.complete for each in over] == [True, True]
    assert report["complete"]
    assert [each["accepted"] for each in report["rounds"]] == [["north", "south"]] * 2
