"""The adaptive policy's promise, against everything that can happen between two plans."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core.config import validate
from antiphon.core.events import (
    BytesMoved,
    ClientFailed,
    ClientJoined,
    Event,
    RoundEvaluated,
    RoundFolded,
    RunStarted,
    RunStopped,
    UpdateReceived,
)
from antiphon.core.run_sections import AsynchronousConfig
from antiphon.core.section import Choice
from antiphon.core.space import SpaceShapes
from antiphon.server.planning.costs import costs_of
from antiphon.server.planning.plans import assignment_of, plan_round
from antiphon.server.planning.telemetry import Accumulator

CLIENTS = ("a", "b", "c", "d")
SPACE = SpaceShapes({"m.lora_A.weight": (8, 64), "m.lora_B.weight": (64, 8)}, {}, "tiny", 10_000)
ROUNDS = 12
TINY = Path(__file__).parents[2] / "examples" / "tiny.yaml"


@dataclass
class History:
    """A run as its journal sees it: every event is heard and its bytes and seconds are added up."""

    accumulator: Accumulator
    now: float = 0.0
    moved: int = 0

    def tell(self, event: Event) -> None:
        """Let an event happen now."""
        if isinstance(event, BytesMoved):
            self.moved += event.bytes
        self.accumulator.hear(event, self.now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def hold_round(history, config, plan, data, greed):
    """Let members deliver, fail, or deliver late, each moving a share `greed` of its bound."""
    costs = costs_of(config, SPACE, plan.round, CLIENTS, simulated=False)
    late = []
    for client in plan.cohort:
        asked = assignment_of(config, plan, client)
        fate = data.draw(st.sampled_from(["late", "delivers", "fails"]))
        share = data.draw(st.floats(0, 1))
        down = BytesMoved(plan.round, client, "down", "model", int(greed * costs.down(client)))
        up = int(greed * costs.up(client, asked.codec, asked.steps))
        history.tell(down)
        history.pass_time(share * plan.deadline_s / len(CLIENTS))
        moved = BytesMoved(plan.round, client, "up", "update", up)
        metrics = {"seconds": data.draw(st.floats(0, 1e3)), "loss": share}
        update = UpdateReceived(client, plan.round, "", up, 10, asked.steps, metrics)
        if fate == "delivers":
            history.tell(moved)
            history.tell(update)
        elif fate == "fails":
            history.tell(ClientFailed(client, plan.round, "no memory"))
        elif fate == "late":
            late += [moved, update]
    history.tell(RoundFolded(plan.round, ""))
    history.pass_time(data.draw(st.floats(0, 20)))
    evaluation = int(greed * costs.evaluation)
    history.tell(BytesMoved(plan.round, "a", "down", "model", evaluation))
    history.tell(RoundEvaluated(plan.round, {"loss": 1.0}))
    return late


@pytest.fixture(scope="module")
def config():
    """A run whose rounds may shrink to one client."""
    values = yaml.safe_load(TINY.read_text())
    cohort = {"size": 4, "quorum": 1, "scheduler": "random"}
    values["evaluation"] |= {"every": 6}
    return validate(values | {"rounds": ROUNDS, "cohort": cohort})


def with_budget(config, budget, seconds):
    """The config under an adaptive policy."""
    policy = Choice.model_validate({"kind": "adaptive", "bytes": budget, "seconds": seconds})
    return config.model_copy(update={"policy": policy})


@pytest.mark.slow
@settings(max_examples=100)
@given(
    data=st.data(),
    budget=st.integers(10_000, 400_000),
    seconds=st.sampled_from([10**6, 500]),
    greed=st.sampled_from([1.0, 0.9, 0.3]),
    buffer=st.sampled_from([None, 1, 2]),
)
def test_budgets_are_never_overrun(config, data, budget, seconds, greed, buffer):
    """Whatever is measured and whoever fails or is late: neither bytes nor deadlines pass the budget."""
    config = with_budget(config, budget, seconds)
    if buffer:
        asynchronous = AsynchronousConfig(buffer=buffer)
        cohort = config.cohort.model_copy(update={"asynchronous": asynchronous})
        config = config.model_copy(update={"cohort": cohort})
    history, late = History(Accumulator()), []
    history.tell(RunStarted("run", "", ROUNDS, 1, 3))
    for client in CLIENTS:
        history.tell(ClientJoined(client, 10))
    for number in range(1, ROUNDS + 1):
        telemetry = history.accumulator.telemetry(number, history.now)
        plan = plan_round(config, number, CLIENTS, 1.0, telemetry, space=SPACE)
        if isinstance(plan, RunStopped):
            assert "budget" in plan.reason
            break
        assert history.now + plan.deadline_s <= seconds + 1e-6
        history.tell(plan)
        for event in late:
            history.tell(event)
        late = hold_round(history, config, plan, data, greed)
    for event in late:
        history.tell(event)
    assert history.moved <= budget
