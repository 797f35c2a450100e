"""A run's config does not change under its name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.daemon.scripted import CONFIG
from tests.client.daemon.stage import Stage, over, run_to_the_end

from antiphon.client.daemon.open_run import Declined
from antiphon.core.free_keys import FREE, settled


async def meet(stage: Stage, *configs: dict[str, Any]) -> list[tuple[str, ...]]:
    """Meet one run with config after config; what is said against each."""
    told: list[tuple[str, ...]] = []
    for config in configs:
        stage.script.config = config
        stage.script.give(over(complete=False))
        try:
            await stage.session.run()
            told.append(())
        except Declined as declined:
            told.append(declined.codes)
            stage.script.tasks.clear()
    return told


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"data": {"dataset": "others"}}, {"lora": {"r": 4}}, {"extra": None}]
)
def test_another_config_under_the_same_name_is_refused(
    stage: Stage, change: dict[str, Any]
) -> None:
    """A site that took part keeps to the config of then; with that one it goes on."""

    async def body(stage: Stage) -> None:
        told = await meet(stage, CONFIG, {**CONFIG, **change}, CONFIG)
        assert told == [(), ("policy.config_changed",), ()]

    stage.play(body)


def test_a_run_may_be_resumed_with_what_decides_nothing(stage: Stage) -> None:
    """More rounds, another deadline, another folder."""
    cohort = {"deadline_s": 5.0, "size": 3}
    first = {**CONFIG, "rounds": 3, "cohort": cohort, "output": {"runs_dir": "a"}}
    later = {**first, "rounds": 9, "cohort": {**cohort, "deadline_s": 9.0}, "output": {}}

    async def body(stage: Stage) -> None:
        assert await meet(stage, first, later) == [(), ()]

    stage.play(body)


def test_a_config_is_remembered_by_the_next_daemon(stage: Stage) -> None:
    """It is on the disk."""

    async def first(stage: Stage) -> None:
        assert await meet(stage, CONFIG) == [()]

    async def second(stage: Stage) -> None:
        assert await meet(stage, {**CONFIG, "seed": 2}) == [("policy.config_changed",)]

    stage.play(first)
    stage.play(second)


def test_a_run_that_was_declined_may_come_back_changed(stage: Stage) -> None:
    """An operator mends a config that sites decline; they hold to what they took part in."""
    stage.policy(max_steps=3)
    training = {**CONFIG["training"], "max_steps": 3}

    async def body(stage: Stage) -> None:
        told = await meet(stage, CONFIG, {**CONFIG, "training": training})
        assert told == [("policy.steps",), ()]

    stage.play(body)


def test_a_damaged_file_lets_no_run_pass(stage: Stage) -> None:
    """What cannot be compared is declined, with the file's name for the owner."""
    (stage.folder / "configs.json").write_text("[")

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined, match=r"configs\.json") as declined:
            await stage.session.run()
        assert declined.value.codes == ("policy.config_changed",)

    stage.play(body)


def test_what_may_change_is_left_out_of_the_comparison() -> None:
    """Every free key, and nothing beside it."""
    values = {"rounds": 1, "seed": 2, "output": {}, "cohort": {"deadline_s": 3, "size": 4}}

    assert settled({**values, "evaluation": {"deadline_s": 5, "every": 6}}) == {
        "seed": 2,
        "cohort": {"size": 4},
        "evaluation": {"every": 6},
    }
    assert settled({"cohort": None}) == {"cohort": None}
    assert {"rounds", "cohort.deadline_s", "evaluation.deadline_s"} == FREE


def test_a_run_of_few_examples_is_declined_before_anything_is_told(stage: Stage) -> None:
    """The default policy wants fifty; how many there are stays here."""
    stage.test(examples=49)

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined) as declined:
            await run_to_the_end(stage)
        assert declined.value.codes == ("policy.examples",)

    stage.play(body)

    assert stage.script.seen("Join") == []
