"""A run waits for its owner's word where the owner wants to be asked; what is approved is one config."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from tests.client.daemon.scripted import CONFIG, RUN
from tests.client.daemon.stage import Stage, over, run_to_the_end, train_task

from antiphon.client.daemon.consent import (
    OwnerDecision,
    OwnerVerdict,
    decide,
    decisions_file,
    read_decisions,
)
from antiphon.client.daemon.known_runs import MOST_KEPT, KnownRun, KnownRuns
from antiphon.client.daemon.open_run import Declined, open_run
from antiphon.client.daemon.outbox import Queued
from antiphon.core.errors import UserError
from antiphon.v1 import coordinator_pb2 as pb


def say(stage: Stage, verdict: OwnerVerdict) -> None:
    """Decide on the run as it is known."""
    known = KnownRuns(stage.folder).named(RUN)
    decide(stage.folder, RUN, OwnerDecision(verdict, known.digest, 1e9))


def told(stage: Stage) -> list[str]:
    """What the coordinator has heard beside Hello."""
    return [method for method, _ in stage.script.calls if method != "Hello"]


async def declined(stage: Stage) -> Declined:
    """Meet the run, and take no part."""
    with pytest.raises(Declined) as caught:
        await stage.session.run()
    return caught.value


def test_a_run_waits_for_its_approval(stage: Stage) -> None:
    """Until then nothing of the site is told, nor what is in the outbox; its config is written down."""
    stage.policy(approve="manual")
    outbox = stage.outbox()
    outbox.add(Queued(RUN, 1, b"update", None), None)
    outbox.close()

    async def body(stage: Stage) -> None:
        refusal = await declined(stage)
        assert refusal.codes == ("policy.approval",)
        assert f"antiphon client approve {RUN}" in str(refusal)

    stage.play(body)

    assert (told(stage), stage.requests("prepare")) == ([], [])
    known = KnownRuns(stage.folder).named(RUN)
    assert (known.config, known.standing, known.reasons) == (
        CONFIG,
        "declined",
        ("policy.approval",),
    )


def test_an_approved_run_is_joined(stage: Stage) -> None:
    """After `approve` the client takes part like any other."""
    stage.policy(approve="manual")
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    async def body(stage: Stage) -> None:
        await declined(stage)
        say(stage, "approved")
        await run_to_the_end(stage)

    stage.play(body)

    assert len(stage.script.updates) == 1
    assert KnownRuns(stage.folder).named(RUN).standing == "over"


@pytest.mark.parametrize("change", ["config", "cohort"])
def test_another_config_needs_another_approval(stage: Stage, change: str) -> None:
    """What was approved is what the run said then: another config under its name waits again."""
    stage.policy(approve="manual")

    async def body(stage: Stage) -> None:
        await declined(stage)
        say(stage, "approved")
        if change == "config":
            stage.script.config = {**CONFIG, "training": {**CONFIG["training"], "max_steps": 3}}
        else:
            stage.script.min_cohort = 1
        refusal = await declined(stage)
        assert refusal.codes == ("policy.approval",)
        assert "has changed since" in str(refusal)

    stage.play(body)

    assert told(stage) == []


@pytest.mark.parametrize("approve", ["auto", "manual"])
def test_a_refused_run_is_declined(stage: Stage, approve: str) -> None:
    """A refusal is of the run, whatever it asks for, and whether the owner wants to be asked or not."""
    stage.policy(approve="manual")

    async def body(stage: Stage) -> None:
        await declined(stage)
        say(stage, "refused")
        stage.policy(approve=approve)
        stage.script.config = {**CONFIG, "training": {**CONFIG["training"], "max_steps": 3}}
        assert (await declined(stage)).codes == ("policy.refused",)

    stage.play(body)

    assert told(stage) == []


def test_a_refusal_ends_the_task_in_hand(stage: Stage) -> None:
    """A run that is refused while the client trains gets no update any more."""
    stage.test(steps=1000, step_s=0.02)
    stage.script.lease_ms = 60
    stage.script.give(train_task(stage.script))

    async def body(stage: Stage) -> None:
        taking_part = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: any(e.steps_done for e in stage.script.seen("NextTask")))
        say(stage, "refused")
        with pytest.raises(Declined, match="refused"):
            await taking_part

    stage.play(body)

    assert stage.script.updates == []


def test_decisions_that_cannot_be_read_approve_nothing(stage: Stage) -> None:
    """Not even where the owner does not want to be asked: a refusal may be lost."""
    decisions_file(stage.folder).write_text("{")

    async def body(stage: Stage) -> None:
        assert (await declined(stage)).codes == ("policy.approval",)

    stage.play(body)

    with pytest.raises(UserError, match="decide again"):
        read_decisions(stage.folder)


def test_a_runs_name_is_quoted_in_the_command(stage: Stage) -> None:
    """The name is a peer's word: what the log says to paste runs nothing else."""
    stage.policy(approve="manual")
    stage.script.run_id = "a; rm -rf b"

    async def body(stage: Stage) -> None:
        assert "approve 'a; rm -rf b'" in str(await declined(stage))

    stage.play(body)


def test_made_up_runs_do_not_fill_the_disk(stage: Stage) -> None:
    """The newest runs are kept, whatever they are called; others can not read them."""
    known = KnownRuns(stage.folder)
    for number in range(MOST_KEPT + 5):
        run = open_run(pb.HelloResponse(run_id=f"../{number}", config=_config(number)))
        known.note(run, float(number), "declined", ("policy.method",))

    kept = known.all()
    files = [*(stage.folder / "runs").iterdir()]

    assert len(kept) == len(files) == MOST_KEPT
    assert kept[0] == KnownRun(
        f"../{MOST_KEPT + 4}",
        hashlib.sha256(b"0\n" + _config(MOST_KEPT + 4)).hexdigest(),
        kept[0].config,
        0,
        0,
        float(MOST_KEPT + 4),
        "declined",
        ("policy.method",),
    )
    assert [each for each in files if each.stat().st_mode & 0o077] == []


def _config(number: int) -> bytes:
    return json.dumps(
        {**CONFIG, "training": {**CONFIG["training"], "max_steps": 1 + number}}
    ).encode()
