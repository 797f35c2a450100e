"""A fleet as a run has met it: recorded from the run's journal, to be simulated.

Of each client: what its machine said of itself, how fast its steps and its line were measured to be, the
share of its assignments that it failed in, and when it was there. Rates are means that forget, as
policies see them (server/planning/telemetry.py); times on line are repeated when the recording is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from antiphon.core.errors import RunFolderError
from antiphon.core.events import (
    ClientDescribed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    RunResumed,
)
from antiphon.core.journal import Entry
from antiphon.core.types import Plain
from antiphon.server.planning.telemetry import Accumulator
from antiphon.simulation.fleet_file import ClientGroup
from antiphon.strategies.scheduling.telemetry import ClientTelemetry

_KILO = 1000.0
_BITS = 8.0
_GB = 1e9
_LEAST, _MOST = 1e-9, 1e12  # what a machine says of itself beyond these is no number to go by
_SHORTEST_S = 1e-3  # times are kept to milliseconds: what is shorter has not been


@dataclass
class _Presence:
    """When a client was there, so far. since: it is there from then on; none: it is not."""

    since: float | None = None
    times: list[tuple[float, float]] = field(default_factory=list)

    def comes(self, when: float) -> None:
        if self.since is None:
            self.since = when

    def goes(self, when: float) -> None:
        if self.since is not None and when - self.since >= _SHORTEST_S:
            self.times.append((self.since, when))
        self.since = None


class _Recording:
    """Hears a journal: clients' facts and presence, on a clock that never goes back."""

    def __init__(self) -> None:
        self.measured = Accumulator()
        self.facts: dict[str, Mapping[str, Plain]] = {}
        self.presence: dict[str, _Presence] = {}
        self.seconds = 0.0
        self._last: float | None = None

    def hear(self, entry: Entry) -> None:
        event = entry.event
        if self._last is not None and not isinstance(event, RunResumed):
            self.seconds += max(0.0, entry.at_s - self._last)
        self._last = entry.at_s
        self.measured.hear(event, entry.at_s)
        match event:
            case ClientDescribed():
                self.facts[event.client] = event.facts
            case ClientJoined():
                self._of(event.client).comes(self.seconds)
            case ClientLeft() | ClientRevoked():
                self._of(event.client).goes(self.seconds)

    def close(self) -> None:
        for each in self.presence.values():
            each.goes(self.seconds)

    def _of(self, client: str) -> _Presence:
        return self.presence.setdefault(client, _Presence())


def recorded(entries: Iterable[Entry]) -> tuple[ClientGroup, ...]:
    """Return the entry of each client that was ever there, by name.

    Raises RunFolderError for a journal in which none has trained, or that took no time.
    """
    recording = _Recording()
    for entry in entries:
        recording.hear(entry)
    recording.close()
    known = recording.measured.telemetry(0, recording.seconds).clients
    trained = [
        name
        for name, each in sorted(recording.presence.items())
        if each.times and _number(known[name].step_s) is not None
    ]
    if not trained or recording.seconds < _SHORTEST_S:
        raise RunFolderError(
            "the journal tells of no client that has trained: record a run in which some have"
        )
    return tuple(
        _group(
            known[name], recording.facts.get(name, {}), recording.presence[name].times, recording
        )
        for name in trained
    )


def _group(
    known: ClientTelemetry,
    facts: Mapping[str, Plain],
    times: list[tuple[float, float]],
    recording: _Recording,
) -> ClientGroup:
    told = {key: _number(facts.get(key)) for key in ("uplink_kbps", "downlink_kbps", "latency_s")}
    memory = _number(known.memory_bytes)
    period = round(recording.seconds, 3)
    online = _rounded(times, period)
    always = online == ((0.0, period),)
    return ClientGroup(
        name=_literally(known.client),
        count=1,
        device=_device(known.device),
        memory_gb=_number(memory / _GB) if memory else None,
        step_s=_number(known.step_s),
        uplink_kbps=told["uplink_kbps"] or _kbps(known.uplink_bytes_per_s),
        downlink_kbps=told["downlink_kbps"] or _kbps(known.downlink_bytes_per_s),
        # Of a line that was only measured, it is in the rates.
        latency_s=(told["latency_s"] or 0.0) if told["uplink_kbps"] else 0.0,
        online=None if always else online,
        period_s=None if always else period,
        failure_rate=_digits(min(1.0, known.failures / max(1, known.asked))),
    )


def _rounded(times: list[tuple[float, float]], period: float) -> tuple[tuple[float, float], ...]:
    """Return times to the millisecond, apart from each other and within the period."""
    kept: list[tuple[float, float]] = []
    for start, end in times:
        low, high = round(start, 3), min(round(end, 3), period)
        if kept and low <= kept[-1][1]:
            kept[-1] = (kept[-1][0], max(high, kept[-1][1]))
        elif low < high:
            kept.append((low, high))
    return tuple(kept)


def _device(told: str | None) -> Literal["cuda", "cpu", "phone"]:
    """Return the kind of device that fleets know; another accelerator counts as one."""
    if told == "phone":
        return "phone"
    return "cpu" if told in (None, "cpu") else "cuda"


def _literally(name: str) -> str:
    """Return a pattern that fits this name alone."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def _number(told: Plain) -> float | None:
    """Return a positive number that a machine said, or was measured by what it said; none for others."""
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return _digits(told) if _LEAST < told < _MOST else None


def _kbps(rate: float | None) -> float | None:
    return _number(rate * _BITS / _KILO) if rate else None


def _digits(value: float) -> float:
    """Return a value to four digits."""
    return float(f"{value:.4g}")
