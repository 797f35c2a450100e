"""Who takes no part in a run just now, and why: who declined, is benched, or was revoked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from antiphon.core.events import ClientDeclined, ClientJoined, Event
from antiphon.core.refusals import said_of
from antiphon.core.types import Plain
from antiphon.server.machine.bench import is_benched
from antiphon.server.machine.run_state import RunState, next_plan


@dataclass(frozen=True)
class Standing:
    """One client that takes no part. until_round: the first round that it may take part in again."""

    name: str
    what: Literal["declined", "benched", "revoked"]
    reason: str
    until_round: int | None = None


def standings(state: RunState, declined: Mapping[str, str]) -> tuple[Standing, ...]:
    """Return who takes no part, by name. declined: reasons by client, of those who declined last."""
    found = {name: Standing(name, "declined", reason) for name, reason in declined.items()}
    if state.phase not in ("complete", "stopped"):
        for name, bench in state.benches.items():
            if is_benched(state.benches, name, next_plan(state)):
                found[name] = Standing(name, "benched", bench.reason, bench.until)
    for name, member in state.clients.items():
        if member.revoked:
            found[name] = Standing(name, "revoked", "the operator has revoked its certificate")
    return tuple(found[name] for name in sorted(found))


def rows(found: Iterable[Standing]) -> list[dict[str, Plain]]:
    """Return the standings as plain values, for a status."""
    return [asdict(each) for each in found]


class Declines:
    """Who has declined the run, and the last words of each: a change is news, a repetition is not."""

    def __init__(self) -> None:
        """Nobody has."""
        self._said: dict[str, ClientDeclined] = {}

    def hear(self, event: Event) -> bool:
        """Take an event in; False where it is a decline that says what its client said before."""
        if isinstance(event, ClientDeclined):
            before = self._said.get(event.client)
            self._said[event.client] = event
            return before != event
        if isinstance(event, ClientJoined):
            self._said.pop(event.client, None)
        return True

    @property
    def events(self) -> list[ClientDeclined]:
        """The last decline of each client that has not joined since."""
        return list(self._said.values())

    @property
    def reasons(self) -> dict[str, str]:
        """Why, by client."""
        return {name: said_of(each.codes, each.reason) for name, each in self._said.items()}
