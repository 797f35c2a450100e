"""Telemetry of made-up fleets: drawn by hypothesis, written by hand, or heard from a journal's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from antiphon.core.events import (
    BytesMoved,
    ClientDescribed,
    ClientFailed,
    ClientJoined,
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunStarted,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.server.planning.telemetry import Accumulator
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry, Telemetry

NAMES = tuple(f"c{i}" for i in range(8))
ROUNDS = 9
MEASURED = tuple(each.name for each in fields(ClientTelemetry) if each.name != "client")

_names = st.sampled_from(NAMES)
_rounds = st.integers(1, ROUNDS)
_positive = st.floats(0, exclude_min=True, allow_infinity=True)
_any_float = st.floats(width=64)

clients = st.builds(
    ClientTelemetry,
    client=_names,
    examples=st.integers(0, 2**63),
    uplink_bytes_per_s=st.none() | _positive,
    downlink_bytes_per_s=st.none() | _positive,
    step_s=st.none() | _positive,
    turnaround_s=st.none() | st.floats(0, 1e300),
    memory_bytes=st.none() | st.integers(1, 2**63),
    device=st.none() | st.sampled_from(["cpu", "cuda", "phone"]),
    tokens_per_s=st.none() | _positive,
    loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    rms_loss=st.none() | st.floats(0, 1e6),
    last_round=st.integers(0, ROUNDS),
    failures=st.integers(0, 9),
    staleness=st.integers(0, 9),
)
"""What server/planning/telemetry.py can come to know of one client, whatever that client claims."""

runs = st.builds(
    RunTelemetry,
    round=_rounds,
    rounds=st.just(ROUNDS),
    seconds=st.floats(0, 3e4),
    overhead_s=st.floats(0, 1e4),
    bytes_up=st.integers(0, 10**7),
    bytes_down=st.integers(0, 10**6),
    reserved_bytes=st.integers(0, 10**6),
    parameters=st.none() | st.integers(1, 10**12),
    losses=st.lists(st.tuples(st.integers(0, ROUNDS), st.floats(-1e9, 1e9))).map(tuple),
    utilities=st.lists(st.floats(0, 1e30), max_size=ROUNDS).map(tuple),
    simulated=st.booleans(),
)

telemetries = st.builds(
    lambda run, known: Telemetry(run, {each.client: each for each in known}),
    runs,
    st.lists(clients, max_size=4),
)

_metrics = st.dictionaries(st.sampled_from(["loss", "rms_loss", "seconds", "tokens"]), _any_float)
_happenings = st.one_of(
    st.builds(ClientJoined, _names, st.integers(1, 1000)),
    st.builds(
        ClientDescribed,
        _names,
        st.dictionaries(st.sampled_from(["tokens_per_s", "uplink_kbps", "step_s"]), _any_float),
    ),
    st.builds(
        lambda number, cohort: RoundPlanned(number, tuple(sorted(cohort)), 1, 60.0),
        _rounds,
        st.sets(_names),
    ),
    st.builds(
        BytesMoved,
        _rounds,
        _names,
        st.sampled_from(["up", "down"]),
        st.just("update"),
        st.integers(0, 10**9),
    ),
    st.builds(
        lambda client, number, steps, metrics: UpdateReceived(
            client, number, "0" * 64, 100, 10, steps, metrics
        ),
        _names,
        _rounds,
        st.integers(0, 50),
        _metrics,
    ),
    st.builds(UpdateRejected, _names, _rounds, st.just("")),
    st.builds(ClientFailed, _names, _rounds, st.just("")),
    st.builds(RoundFolded, _rounds, st.just("")),
    st.builds(RoundEvaluated, _rounds, _metrics),
)

journals = st.lists(st.tuples(_happenings, st.floats(0, 1e6)), max_size=20)
"""(event, at_s), in any order and with a clock that jumps."""

Heard = Sequence[tuple[Event, float]]


def honest(key: int) -> list[ClientTelemetry]:
    """Return a fleet of which some things have been measured, half of it never asked; key: of the draw."""
    rng = np.random.default_rng(key)

    def rate() -> float | None:
        return float(rng.uniform(0.1, 100)) if rng.random() < 0.7 else None

    return [
        ClientTelemetry(
            name,
            examples=int(rng.integers(1, 1000)),
            uplink_bytes_per_s=rate(),
            downlink_bytes_per_s=rate(),
            step_s=rate(),
            turnaround_s=rate(),
            memory_bytes=int(rng.integers(1 << 30, 1 << 36)),
            device=str(rng.choice(["cpu", "cuda", "phone"])),
            tokens_per_s=rate(),
            loss=rate(),
            rms_loss=rate(),
            last_round=int(rng.integers(1, ROUNDS) * rng.integers(0, 2)),
            failures=int(rng.integers(0, 9)),
            staleness=int(rng.integers(0, 9)),
        )
        for name in NAMES
    ]


def told() -> Heard:
    """Return the journal of three plausible rounds: clients of unlike speed, links, data and loss."""
    heard: list[tuple[Event, float]] = [(RunStarted("run", "", ROUNDS, 1, 3), 0.0)]
    heard += [(ClientJoined(name, 10 + 30 * i), 0.0) for i, name in enumerate(NAMES)]
    for number in (1, 2, 3):
        began, cohort = 1000.0 * number, NAMES[number : number + 4]
        heard.append((RoundPlanned(number, cohort, 1, 900.0), began))
        for i, name in enumerate(cohort, 1):
            metrics = {"loss": 3.0 / number + i, "rms_loss": 4.0 / i, "seconds": 5.0 * i}
            heard += [
                (BytesMoved(number, name, "down", "model", 40_000 * i), began + i),
                (BytesMoved(number, name, "up", "update", 9000), began + 40.0 * i),
                (
                    UpdateReceived(name, number, "0" * 64, 9000, 10, 10, metrics),
                    began + 40.0 * i,
                ),
            ]
        heard.append((RoundFolded(number, ""), began + 300))
        heard.append((RoundEvaluated(number, {"loss": 3.0 - 0.7 * number}), began + 310))
    return sorted(heard, key=lambda each: each[1])


def known_from(heard: Heard, number: int = 4) -> Telemetry:
    """Return what these events tell before round `number`."""
    accumulator = Accumulator()
    for event, at_s in heard:
        accumulator.hear(event, at_s)
    return accumulator.telemetry(number, 5000.0)


def only(client: ClientTelemetry, uses: Sequence[str]) -> ClientTelemetry:
    """Return a client of whom nothing is known but these fields."""
    kept: dict[str, Any] = {name: getattr(client, name) for name in uses}
    return replace(ClientTelemetry(client.client), **kept)
