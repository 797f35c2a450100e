"""The fleet of a simulated run: how long each client takes for what, and when it fails or is away.

With s the latency, R rates and D, U the bytes that really travel, an assignment given at t

    has arrived   at t₁ = t + s + 8 D / R_down
    is trained    at t₂ = t₁ + steps × step_s      (or tokens / tokens_per_s)
    is delivered  at t₃ = t₂ + s + 8 U / R_up

in virtual seconds. Chance comes from (seed, client, round), so that nothing depends on the order in which
it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.core.run_sections import AUTO
from antiphon.core.types import Plain, Update
from antiphon.simulation.availability import Availability, Drawn, Replayed
from antiphon.simulation.chance import uniform
from antiphon.simulation.fleet_file import ClientTraits, read_fleet, share_out
from antiphon.simulation.liar import Lie, told
from antiphon.simulation.workload import Workload
from antiphon.strategies.bases.base import base
from antiphon.strategies.methods.method import method_of

_BITS_PER_KBPS = 1000.0
_BYTES_PER_GB = 1e9


class SimulatedFleet:
    """The clients of one run. described: whether a fleet file says what they are like."""

    def __init__(
        self, traits: Mapping[str, ClientTraits], seed: int, *, described: bool = True
    ) -> None:
        """traits: of every client, by name."""
        self.traits, self._seed, self.described = dict(traits), seed, described
        self._availability = {
            name: times
            for name, each in self.traits.items()
            if (times := _times(seed, name, each)) is not None
        }

    @property
    def digest(self) -> str:
        """A hash of what the clients are like, to tell whether a resumed run has the same fleet."""
        told = sorted((name, _told(each)) for name, each in self.traits.items())
        return hashlib.sha256(repr(told).encode(errors="surrogatepass")).hexdigest()[:16]

    @property
    def mean_on_line(self) -> float:
        """How many clients are on line at a time, in the mean."""
        return sum(each.on_line for each in self.traits.values())

    def download_s(self, client: str, size_bytes: int) -> float:
        """Seconds until an assignment and its model have arrived."""
        traits = self.traits[client]
        return traits.latency_s + _transfer_s(size_bytes, traits.downlink_kbps)

    def upload_s(self, client: str, size_bytes: int) -> float:
        """Seconds until an update has arrived."""
        traits = self.traits[client]
        return traits.latency_s + _transfer_s(size_bytes, traits.uplink_kbps)

    def counts_tokens(self, client: str) -> bool:
        """Whether the client's speed is in tokens, not in steps."""
        return self.traits[client].tokens_per_s is not None

    def training_s(self, client: str, work: Workload) -> float:
        """Seconds of the local training."""
        traits = self.traits[client]
        if traits.tokens_per_s is not None:
            return work.tokens / traits.tokens_per_s
        return work.steps * (traits.step_s or 0.0)

    def failure(self, client: str, number: int) -> float | None:
        """Return the share of its training after which a client dies in a round; none: it does not."""
        if uniform(self._seed, client, "failure", number) >= self.traits[client].failure_rate:
            return None
        return uniform(self._seed, client, "time of failure", number)

    def is_on(self, client: str, when: float) -> bool:
        """Whether the client is on line at a moment (virtual seconds)."""
        times = self._availability.get(client)
        return times is None or times.is_on(when)

    def next_change(self, client: str, when: float) -> float | None:
        """Return when the client comes or goes next after a moment; none: it stays for ever."""
        times = self._availability.get(client)
        return None if times is None else times.next_change(when)

    def told(self, update: Update) -> Update:
        """Return what the client sends: its update, or a lie."""
        key = hashlib.sha256(f"{self._seed}/{update.client}/lie".encode()).digest()
        rng = np.random.Generator(
            np.random.Philox(key=[int.from_bytes(key[:8], "little"), update.round])
        )
        traits = self.traits[update.client]
        claimed = replace(update, examples=self.claimed_examples(update.client, update.examples))
        return told(claimed, Lie(traits.liar, traits.liar_scale, traits.liar_norm), rng)

    def claimed_examples(self, client: str, held: int) -> int:
        """Return how many training examples a client says it holds."""
        return self.traits[client].claims_examples or held

    def facts(self, client: str, tokens_per_step: float) -> dict[str, Plain]:
        """Return what the client's machine says of itself, under the names that real ones use.

        tokens_per_step: mean of the client's data. What the file does not tell is left out.
        """
        traits = self.traits[client]
        rate = traits.tokens_per_s or tokens_per_step / (traits.step_s or 1.0)
        memory = traits.memory_gb
        facts: dict[str, Plain] = {
            "device": traits.device,
            "base": None if traits.base is None else traits.base.kind,
            "memory_bytes": None if memory is None else round(memory * _BYTES_PER_GB),
            "tokens_per_s": rate,
            "step_s": traits.step_s,
            "uplink_kbps": traits.uplink_kbps,
            "downlink_kbps": traits.downlink_kbps,
            "latency_s": traits.latency_s,
        }
        return {name: value for name, value in facts.items() if value is not None}


def _times(seed: int, name: str, traits: ClientTraits) -> Availability | None:
    if traits.online is not None and traits.period_s is not None:
        return Replayed(traits.online, traits.period_s)
    if traits.availability < 1:
        return Drawn(seed, name, traits.availability, traits.mean_on_s)
    return None


def _told(traits: ClientTraits) -> str:
    # Fleets of before there were recorded times keep their hash.
    unsaid = {"online", "period_s"} if traits.online is None else set[str]()
    return traits.model_dump_json(exclude=unsaid)


def fleet_of(config: RunConfig, names: Iterable[str]) -> SimulatedFleet:
    """Return the fleet that a config names, or one of equal clients that is always there.

    Raises ConfigError where the file is wrong, does not fit the clients, or has too few on line at a time.
    """
    engine = config.engine
    if engine.fleet is None:
        _check_roles(config)
        alike = ClientTraits(step_s=engine.step_s)
        return SimulatedFleet(dict.fromkeys(names, alike), config.seed, described=False)
    entries = read_fleet(Path(engine.fleet).expanduser())
    fleet = SimulatedFleet(share_out(entries, names), config.seed)
    _check_bases(config, fleet)
    needed = min(_asked_for(config), len(fleet.traits))
    if fleet.mean_on_line < needed:
        raise ConfigError(
            f"{engine.fleet}: {fleet.mean_on_line:.1f} of {len(fleet.traits)} clients are on line at a "
            f"time, but a round needs {needed}: lower cohort.min_clients (or cohort.size), or raise the "
            "availability"
        )
    return fleet


def _check_roles(config: RunConfig) -> None:
    groups = [each.who for each in method_of(config).roles if each.who]
    empty = next((each for each in groups if not each.clients), None)
    if empty and config.engine.kind == "simulation":
        raise ConfigError(
            f"{empty.key}_below_gb and {empty.key}_devices look at what clients say of their machines, but "
            "simulated clients without a fleet file say nothing, so that nobody would be one of them: name "
            f"some in {empty.key}, or give engine.fleet a file"
        )


def _check_bases(config: RunConfig, fleet: SimulatedFleet) -> None:
    for client, traits in sorted(fleet.traits.items()):
        if traits.base is not None and config.engine.kind == "flower":
            raise ConfigError(
                f"{config.engine.fleet}, client {client}: on engine flower all clients hold the model as "
                "model.base says: leave base out of the fleet file"
            )
        if traits.base is None or traits.base.kind == AUTO:
            continue
        try:
            method_of(config).check_base(base(traits.base))
        except ConfigError as error:
            raise ConfigError(f"{config.engine.fleet}, client {client}: {error}") from None


def check_deadline(config: RunConfig) -> None:
    """Raise ConfigError where clients of a fleet without a file are never done before their deadline."""
    engine, steps = config.engine, method_of(config).most_steps
    if engine.fleet is None and engine.step_s * steps >= config.cohort.deadline_s:
        raise ConfigError(
            f"{steps} steps of engine.step_s {engine.step_s:g} take a simulated client until or past "
            f"cohort.deadline_s ({config.cohort.deadline_s:g}): no update could ever arrive. Raise the "
            "deadline, or lower the steps or engine.step_s"
        )


def clients_needed(config: RunConfig, fleet: SimulatedFleet) -> int:
    """Return how many clients must be on line before a round is planned.

    Of a fleet that is always there, all; else what `_asked_for` says, and never fewer than the quorum.
    """
    everybody = len(fleet.traits)
    if fleet.mean_on_line == everybody:
        return everybody
    return min(max(_asked_for(config), config.cohort.quorum or 1), everybody)


def _asked_for(config: RunConfig) -> int:
    """Return `cohort.min_clients`, else the size, else the quorum, else 2."""
    cohort = config.cohort
    return cohort.min_clients or cohort.size or cohort.quorum or 2


def _transfer_s(size_bytes: int, rate_kbps: float | None) -> float:
    return 0.0 if rate_kbps is None else 8 * size_bytes / (_BITS_PER_KBPS * rate_kbps)
