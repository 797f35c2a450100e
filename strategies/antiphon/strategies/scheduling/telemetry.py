"""What a scheduler and a policy see of the fleet and of the run: measured values, as far as there are any.

All of it follows from the journal (server/planning/telemetry.py gathers it), so that a run that was resumed
decides as one that was not. None means: not measured yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from antiphon.core.types import Plain


@dataclass(frozen=True)
class ClientTelemetry:
    """One client.

    uplink_bytes_per_s, downlink_bytes_per_s, step_s (seconds of a local step): means that forget, the
    newest counts half; turnaround_s: of its last assignment, or what was waited for it in vain; loss:
    its last mean training loss, rms_loss: √ of the mean of the squared losses where it reports that;
    last_round: the last one that asked it (0: none yet); asked: how many have; failures:
    assignments that brought no accepted update; staleness: rounds that its last update was late; base: how
    its machine holds the base model.
    """

    client: str
    examples: int = 0
    uplink_bytes_per_s: float | None = None
    downlink_bytes_per_s: float | None = None
    step_s: float | None = None
    turnaround_s: float | None = None
    memory_bytes: int | None = None
    device: str | None = None
    base: str | None = None
    tokens_per_s: float | None = None
    loss: float | None = None
    rms_loss: float | None = None
    last_round: int = 0
    asked: int = 0
    failures: int = 0
    staleness: int = 0

    @property
    def utility(self) -> float | None:
        """Oort's statistical utility |B|·√(mean loss²); none: it has not reported a finite loss."""
        return None if self.rms_loss is None else self.examples * self.rms_loss

    def transfer_s(self, bytes_down: int, bytes_up: int) -> float:
        """Return the seconds that so much takes on its links; a link that was not measured takes none."""
        down = bytes_down / self.downlink_bytes_per_s if self.downlink_bytes_per_s else 0.0
        return down + (bytes_up / self.uplink_bytes_per_s if self.uplink_bytes_per_s else 0.0)


@dataclass(frozen=True)
class RunTelemetry:
    """The run.

    round: the one to be planned; rounds: of the whole run; seconds: in which an engine was at work;
    overhead_s: the longest time from the end of a collection to the next plan; bytes_up, bytes_down:
    moved so far; reserved_bytes: bounds of what assignments may still move; losses: (round, median
    of the clients' held-out losses), finite ones, round 0 is the untouched model; utilities: per round,
    from the first on, the sum of the utilities of those who sent an update; simulated: whether the clock
    is a virtual one.
    """

    round: int = 1
    rounds: int = 1
    seconds: float = 0.0
    overhead_s: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    reserved_bytes: int = 0
    parameters: int | None = None
    losses: tuple[tuple[int, float], ...] = ()
    utilities: tuple[float, ...] = ()
    simulated: bool = False


@dataclass(frozen=True)
class Telemetry:
    """Everything that is known before a round."""

    run: RunTelemetry = field(default_factory=RunTelemetry)
    clients: Mapping[str, ClientTelemetry] = field(default_factory=dict)

    def of(self, client: str) -> ClientTelemetry:
        """Return what is known of a client, be it nothing."""
        return self.clients.get(client) or ClientTelemetry(client)


def used_values(client: ClientTelemetry, names: Iterable[str]) -> dict[str, Plain]:
    """Return the named fields that were measured, floats to six digits: a row of a plan's telemetry."""
    row: dict[str, Plain] = {}
    for name in sorted(names):
        value = getattr(client, name)
        if isinstance(value, float):
            value = float(f"{value:.6g}") if math.isfinite(value) else None
        if value is not None:
            row[name] = value
    return row
