"""The report agrees with the round machine, whatever happens."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.server.happenings import SCRIPT, recorded

from antiphon.core.events import (
    ClientJoined,
    Event,
    RunStarted,
)
from antiphon.server.machine.run_state import Outcome
from antiphon.server.report.report import build


@given(SCRIPT, st.integers(2, 3))
def test_agrees_with_the_round_machine(
    script: list[tuple[Event | float, str]], clients: int
) -> None:
    """Whatever happens, the report tells of each round, and of the end, as the machine does."""
    start = RunStarted("any", "0", rounds=4, min_clients=clients, max_failed_rounds=2)
    joined: list[Event] = [start, *(ClientJoined(name, 10) for name in "abc")]
    state, entries = recorded([*((event, "at once") for event in joined), *script])

    report = build(entries)

    assert [
        Outcome(
            each["round"], each["outcome"], "", tuple(each["accepted"]), tuple(each["rejected"])
        )
        for each in report["rounds"]
        if each["outcome"] != "open"
    ] == [replace(each, reason="") for each in state.outcomes]
    over = state.phase in ("complete", "stopped")
    assert report["complete"] == (state.phase == "complete")
    assert report["reason"] == (state.reason if over else None)
