"""What a run on the network is at, as plain values for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.server.coordinator.admission import Admission
from antiphon.server.coordinator.engine import Engine
from antiphon.server.coordinator.leases import Leases
from antiphon.server.machine.run_state import RunState
from antiphon.server.machine.standing import rows, standings
from antiphon.server.machine.waiting import why_waiting


def status_of(
    admission: Admission, rounds: int, leases: Leases, obstacle: str | None, now: float
) -> Mapping[str, Any]:
    """Return the status. rounds: of the config; obstacle: why no round may open; now: seconds."""
    engine = admission.engine
    if engine is None:
        return {
            "run_id": admission.run_id,
            "phase": "new",
            "round": 0,
            "rounds": rounds,
            "why": _why_closed(admission),
            "healthy": obstacle is None,
            "obstacle": obstacle,
            "clients": [],
            "apart": rows(standings(RunState(), admission.declines.reasons)),
        }
    machine = engine.machine
    return {
        "run_id": admission.run_id,
        "phase": machine.phase,
        "round": machine.round,
        "rounds": machine.run.rounds,
        "why": obstacle or why_waiting(machine, now),
        "healthy": obstacle is None and not engine.draining,
        "obstacle": obstacle,
        "clients": [_client(engine, admission, leases, name) for name in sorted(machine.clients)],
        "apart": rows(standings(machine, admission.declines.reasons)),
    }


def _why_closed(admission: Admission) -> str:
    needed, claims = admission.candidates.needed, admission.candidates.claims()
    if not claims:
        return "waiting for the first client: clients say what the run trains"
    most, said = next(iter(claims.values())), sum(claims.values())
    others = f", {said - most} say otherwise" if said > most else ""
    return (
        f"waiting until {needed} clients say the same of their base model: {most} do{others} "
        "(`antiphon serve --space` would fix it)"
    )


def _client(engine: Engine, admission: Admission, leases: Leases, name: str) -> Mapping[str, Any]:
    machine = engine.machine
    slot = machine.carried.get(name) or machine.cohort.get(name)
    member, in_hand = machine.clients[name], engine.in_hand.get(name)
    return {
        "name": name,
        "present": member.present,
        "examples": member.examples,
        "silent_s": leases.silence_s(name),
        "in_round": slot.status if slot else None,
        "working_on": in_hand.round if in_hand else None,
        "steps_done": in_hand.steps_done if in_hand else None,
        "facts": dict(admission.facts.get(name, {})),
    }
