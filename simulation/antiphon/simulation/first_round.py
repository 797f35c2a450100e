"""The first round as a run would plan it: what its policy expects, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from antiphon.client.data.clients import ClientData
from antiphon.client.shapes import space_of
from antiphon.core.config import RunConfig
from antiphon.core.events import (
    ClientDescribed,
    ClientJoined,
    Event,
    RoundPlanned,
    RunDescribed,
    RunStopped,
)
from antiphon.server.planning.plans import plan_round
from antiphon.server.planning.telemetry import Accumulator
from antiphon.simulation.fleet import SimulatedFleet, clients_needed
from antiphon.simulation.workload import mean_tokens
from antiphon.strategies.methods.method import method_of


def coming(
    config: RunConfig, fleet: SimulatedFleet, data: ClientData, *, known: bool = False
) -> list[Event]:
    """Return what the coordinator hears when a client comes on line. known: it has been here before."""
    joined = ClientJoined(data.name, fleet.claimed_examples(data.name, len(data.train)))
    if known or not fleet.described:
        return [joined]
    tokens = method_of(config).roles[-1].trainer.examples_per_step * mean_tokens(data)
    return [ClientDescribed(data.name, fleet.facts(data.name, tokens)), joined]


@dataclass(frozen=True)
class FirstRound:
    """plan: of round 1, or that the policy ends the run; at_s: virtual seconds; here: who is there."""

    plan: RoundPlanned | RunStopped
    at_s: float
    here: int


def first_round(
    config: RunConfig, clients: Mapping[str, ClientData], fleet: SimulatedFleet
) -> FirstRound:
    """Return the first round of a run whose clients come on line as the fleet says.

    With a fleet file their machines and lines are known, as they are told; without one only the data is.
    """
    at_s, here = _enough(clients_needed(config, fleet), sorted(clients), fleet)
    heard = Accumulator()
    heard.hear(RunDescribed({"engine": config.engine.kind}), 0.0)
    for name in here:
        for event in coming(config, fleet, clients[name]):
            heard.hear(event, at_s)
    telemetry = heard.telemetry(1, at_s)
    plan = plan_round(config, 1, here, 1.0, telemetry, space=space_of(config))
    return FirstRound(plan, at_s, len(here))


def _enough(needed: int, names: Sequence[str], fleet: SimulatedFleet) -> tuple[float, list[str]]:
    """Return the first moment at which so many are there, and who is.

    It comes: a fleet that has fewer on line in the mean is refused before.
    """
    at_s = 0.0
    while len(here := [name for name in names if fleet.is_on(name, at_s)]) < needed:
        changes = (fleet.next_change(name, at_s) for name in names)
        at_s = min(each for each in changes if each is not None)
    return at_s, here
