"""`antiphon` with a death, or a bug, planted in it: what the crash tests start in its place.

    python -m tests.network.planted --die "events committed:3" -- serve RUN.yaml
    python -m tests.network.planted --bug ack-before-commit -- serve RUN.yaml --resume

The process is killed (SIGKILL, by itself) when it passes a step of core/fault_points.py for the n-th time.
The bugs are there to show that the check of a crash test would notice them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

from antiphon.core import fault_points
from antiphon.core.events import (
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunEnded,
    RunResumed,
    RunStarted,
    UpdateReceived,
)
from antiphon.core.fault_points import FaultPoint
from antiphon.server.machine.run_state import RunState, Slot
from antiphon.server.machine.verdict import Verdict

PLANTED = [sys.executable, "-m", "tests.network.planted"]
"""Command of this program."""

_OF_THE_ENGINE = (RunStarted, RunResumed, RoundPlanned, RoundFolded, RoundEvaluated, RunEnded)


def die_at(step: FaultPoint, passes: int) -> None:
    """Kill this process when it passes `step` for the `passes`-th time."""
    passed: Counter[FaultPoint] = Counter()

    def hook(reached: FaultPoint) -> None:
        passed[reached] += 1
        if reached == step and passed[reached] >= passes:
            os.kill(os.getpid(), signal.SIGKILL)

    fault_points.on_reached(hook)


def ack_before_commit() -> None:
    """Let the coordinator answer first: clients' events are written with the engine's next."""
    from antiphon.core.journal import Journal

    write = Journal.append_many
    held: list[tuple[Event, float]] = []

    def append_many(journal: Journal, events: Iterable[Event], at_s: float) -> int:
        held.extend((event, at_s) for event in events)
        if any(isinstance(event, _OF_THE_ENGINE) for event, _ in held):
            for event, then in held:
                write(journal, [event], then)
            held.clear()
        return 0

    Journal.append_many = append_many  # type: ignore[method-assign]


def no_idempotency_key() -> None:
    """Let the coordinator count an update that is handed in again as another one."""
    from antiphon.core.wire import round_of
    from antiphon.server.coordinator.engine import Engine
    from antiphon.server.federation import Federation
    from antiphon.server.machine import hearing as machine

    judge = machine.judge  # type: ignore[attr-defined]

    def forgetful(state: RunState, event: UpdateReceived) -> tuple[Verdict, str]:
        cohort = {name: slot for name, slot in state.cohort.items() if name != event.client}
        if event.client in state.cohort:
            cohort[event.client] = Slot("assigned", state.round)
        return judge(replace(state, receipts={}, cohort=cohort), event)

    def waits_for(engine: Engine, client: str, message: bytes) -> bool:
        return round_of(message) == engine.round

    machine.judge = forgetful  # type: ignore[attr-defined]
    Engine.waits_for = waits_for  # type: ignore[method-assign]
    Federation.was_accepted = lambda federation, client, message: False  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "no-idempotency-key": no_idempotency_key,
}


def main() -> None:
    """Plant what the arguments before `--` say, and be `antiphon` with those behind it."""
    mark = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--die", metavar="STEP:N")
    parser.add_argument("--bug", choices=sorted(BUGS))
    given = parser.parse_args(sys.argv[1:mark])
    if given.die:
        step, _, passes = given.die.rpartition(":")
        die_at(cast(FaultPoint, step), int(passes))
    if given.bug:
        BUGS[given.bug]()
    sys.argv = ["antiphon", *sys.argv[mark + 1 :]]
    from antiphon.cli import main as command

    command.main()


if __name__ == "__main__":
    main()
