"""A journal of many clients and rounds, made of real events: what a fleet on a network leaves behind.

For the dashboard's tests and its benchmark. Clients differ in speed, some are stragglers, a few fail, send
broken updates, leave or come too late; the numbers fall as those of a run that learns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.core import events
from antiphon.core.event_json import encode
from antiphon.core.events import Event
from antiphon.core.journal import Journal

START_S = 1_790_000_000.0
_PARAMETERS = 460_800
_DEVICES = (
    ("cuda", "NVIDIA A10", 24e9, 9000.0),
    ("cpu", "Intel(R) Xeon(R) Gold 6230", 64e9, 310.0),
    ("cuda", "Orin (nvgpu)", 8e9, 900.0),
)


@dataclass(frozen=True)
class Fleet:
    """Who takes part. start_s: Unix epoch; update_bytes, model_bytes: on the wire; seed: of all draws."""

    clients: int
    rounds: int
    start_s: float = START_S
    update_bytes: int = 1_843_930
    model_bytes: int = 1_843_930
    seed: int = 0


def write(path: Path, fleet: Fleet, *, ended: bool = True) -> int:
    """Write the journal; return its number of events. ended: else it stops in the last round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Journal.writing(path).close()
    rows = [(at_s, *encode(event)) for event, at_s in happened(fleet, ended=ended)]
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany("INSERT INTO event (at_s, kind, body) VALUES (?, ?, ?)", rows)
    connection.close()
    return len(rows)


def happened(fleet: Fleet, *, ended: bool) -> Iterator[tuple[Event, float]]:
    """Yield every event with its time, in order."""
    draw = np.random.Generator(np.random.Philox(fleet.seed))
    names = [f"site-{number:03d}" for number in range(fleet.clients)]
    speeds = dict(zip(names, np.exp(draw.normal(0.0, 0.35, fleet.clients)), strict=True))
    now = fleet.start_s
    yield from ((each, now) for each in _beginning(fleet, names))
    yield from ((each, now) for each in _evaluation(0, names, draw))
    for number in range(1, fleet.rounds + 1):
        now += 2.0
        last = number == fleet.rounds
        timed = sorted(_round(fleet, number, speeds, draw), key=lambda each: each[1])
        if last and not ended:
            timed = timed[: len(timed) * 7 // 8]
        yield _plan(number, names), now
        yield from ((event, now + after) for event, after in timed)
        if last and not ended:
            return
        now += timed[-1][1] + 1.0
        yield from ((each, now) for each in _closing(number, names, draw))
    yield events.RunEnded(True, f"all rounds are over: {fleet.rounds} folded"), now


def _beginning(fleet: Fleet, names: list[str]) -> Iterator[Event]:
    yield events.RunStarted("large", "0123456789abcdef", fleet.rounds, fleet.clients, 3)
    yield events.RunDescribed(
        {
            "engine": "grpc",
            "method": "lora",
            "space": "adapter",
            "model": "smollm2-135m",
            "trained_parameters": _PARAMETERS,
            "model_parameters": 134_515_008,
        }
    )
    for number, name in enumerate(names):
        device, device_name, memory, rate = _DEVICES[number % len(_DEVICES)]
        yield events.ClientJoined(name, 100 + number)
        yield events.ClientDescribed(
            name,
            {
                "antiphon": "0.2.0",
                "device": device,
                "device_name": device_name,
                "memory_bytes": int(memory),
                "cpu_cores": 8,
                "tokens_per_s": rate,
                "platform": "Linux-x86_64",
                "evaluation_examples": 64,
                "libraries": "numpy 2.3, torch 2.13.0, transformers 5.23",
            },
        )


def _plan(number: int, names: list[str]) -> Event:
    task = {"method": "lora", "steps": 20, "learning_rate": 1e-3, "r": 8, "max_tokens": None}
    return events.RoundPlanned(
        round=number,
        cohort=tuple(names),
        quorum=max(1, len(names) // 2),
        deadline_s=3600.0,
        reason=f"all: {len(names)} of {len(names)} clients, as the config fixes it",
        plan=dict.fromkeys(names, task),
    )


def _round(
    fleet: Fleet, number: int, speeds: dict[str, float], draw: np.random.Generator
) -> Iterator[tuple[Event, float]]:
    """Yield what the clients do in one round, with the seconds after its plan."""
    for name, speed in speeds.items():
        fate = draw.random()
        there, done = 3 * speed * draw.uniform(0.8, 1.2), 40 * speed * draw.uniform(0.9, 1.1)
        done *= 2.5 if fate > 0.97 else 1.0
        yield events.BytesMoved(number, name, "down", "model", fleet.model_bytes), there
        if fate < 0.01:
            yield events.ClientFailed(name, number, "out of memory on the GPU"), done
            continue
        yield events.BytesMoved(number, name, "up", "update", fleet.update_bytes), done
        yield events.BytesMoved(number, name, "up", "update", 86), done
        if fate < 0.02:
            yield events.UpdateRejected(name, number, "q_proj.lora_A holds 3 NaN"), done
            continue
        loss = 1.1 * 0.985**number + draw.normal(0, 0.02)
        metrics = {"loss": float(loss), "tokens": 5120.0}
        digest = f"{number:032x}{name.encode().hex():>032s}"
        yield (
            events.UpdateReceived(name, number, digest, fleet.update_bytes + 86, 100, 20, metrics),
            done,
        )


def _closing(number: int, names: list[str], draw: np.random.Generator) -> Iterator[Event]:
    yield events.PhaseTimed(number, "fold", 0.61)
    report = {"aggregation_error": 1.2e-7, "update_norm": 3.1}
    yield events.RoundFolded(number, f"{number:064x}", report)
    yield from _evaluation(number, names, draw)


def _evaluation(number: int, names: list[str], draw: np.random.Generator) -> Iterator[Event]:
    losses, accuracies = [], []
    for position, name in enumerate(names):
        offset = 0.3 * position / len(names)
        loss = float(0.3 + offset + 0.8 * 0.97**number + draw.normal(0, 0.01))
        accuracy = float(min(1.0, 0.95 - offset / 2 - 0.4 * 0.96**number))
        losses.append(loss)
        accuracies.append(accuracy)
        yield events.Evaluated(number, name, 64, loss, accuracy, float(np.exp(loss)))
    yield events.PhaseTimed(number, "evaluation", 4.2)
    metrics = {"loss": float(np.mean(losses)), "accuracy": float(np.mean(accuracies))}
    yield events.RoundEvaluated(number, metrics)
