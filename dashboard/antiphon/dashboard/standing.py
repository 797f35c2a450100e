"""Where a run stands, as the round machine would say it, without replaying every step of it.

`state_of` gives the machine's state from a history: what `replay` gives, as far as the sentence about
waiting needs it. A test holds the two against each other after every event of recorded runs.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.error import URLError

from antiphon.core.journal import writer_is_alive
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.history import History
from antiphon.dashboard.reading import Stamp
from antiphon.server.run_state import Member, Phase, RunState, Slot

Life = Literal["empty", "running", "interrupted", "complete", "stopped", "unreadable"]
"""interrupted: the run is not over, and nothing is at work on it."""

RECENT_S = 30.0
"""An engine that wrote so shortly ago is taken to be at work, also where its process cannot be seen."""

_ANSWER_S = 0.5
_MOST_BYTES = 4_000_000


@dataclass(frozen=True)
class Live:
    """What a coordinator at work says of its run. why: why it waits; clients: each as plain values."""

    why: str
    healthy: bool
    clients: tuple[Mapping[str, Any], ...]


def state_of(history: History) -> RunState:
    """Return the machine's state; receipts and the outcomes of rounds that are over are left out."""
    tally = history.tally
    if tally.started is None:
        return RunState()
    members = {
        name: Member(examples, name in tally.present, name in tally.revoked)
        for name, examples in tally.train_examples.items()
    }
    state = RunState(
        run=tally.started,
        clients=members,
        round=_round(history),
        carried=dict(tally.carried),
        benches=dict(tally.benches),
        failed_in_a_row=tally.failed_in_a_row,
        not_before=tally.not_before,
    )
    if tally.end is not None:
        complete, reason = tally.end
        ended: Phase = "complete" if complete else "stopped"
        return replace(state, phase=ended, reason=reason)
    last = tally.last
    if last is None or last.phase == "over":
        ready: Phase = "planning" if state.round else "evaluating"
        return replace(state, phase=ready if history.enough else "waiting")
    return replace(
        state,
        phase=last.phase,
        cohort={name: Slot(status, last.base[name]) for name, status in last.status.items()},
        quorum=last.planned.quorum,
        deadline=last.deadline,
        deadline_s=last.planned.deadline_s,
        enough=last.planned.enough,
        max_staleness=last.planned.max_staleness,
    )


def _round(history: History) -> int:
    tally = history.tally
    if tally.last is None:
        return 1 if 0 in tally.means else 0
    number = tally.last.planned.round
    return number if tally.end is not None or tally.last.phase != "over" else number + 1


def life_of(
    folder: RunFolder, stamp: Stamp | None, end: tuple[bool, str] | None, now: float
) -> Life:
    """Return whether a run is over, or else whether anything is at work on it at `now` (Unix epoch).

    end: (complete, reason) once the run is over, as in the tally.
    """
    if stamp is None:
        return "empty"
    if end is not None:
        return "complete" if end[0] else "stopped"
    at_work = now - stamp.changed_at < RECENT_S or writer_is_alive(folder.journal_file)
    return "running" if at_work else "interrupted"


def asked(folder: RunFolder, run_id: str) -> Live | None:
    """Ask the coordinator that is at work on a run; none: there is none, or it says nothing."""
    try:
        address = json.loads(folder.live_file.read_text())["status"]
        with urllib.request.urlopen(f"http://{address}/status", timeout=_ANSWER_S) as answer:
            told = json.loads(answer.read(_MOST_BYTES))
        if told["run_id"] != run_id:
            return None
        return Live(str(told["why"]), bool(told["healthy"]), tuple(told["clients"]))
    except (OSError, ValueError, LookupError, TypeError, URLError):
        return None
