"""The file that describes a simulated fleet: who computes how fast, on which line, how reliably.

    clients:
      - {name: meadow, device: cuda, step_s: 0.5}
      - {count: 3, device: phone, tokens_per_s: 90, uplink_kbps: 2000, availability: 0.6}

Entries are taken in order; each takes the first `count` clients, in order of name, that its pattern fits
and that no entry before it has taken. Every client of the data must be taken, and no entry may go
without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from antiphon.core.errors import ConfigError
from antiphon.core.section import Choice, Section, read_yaml, validated
from antiphon.simulation.liar import Liar

PositiveShare = Annotated[float, Field(gt=0, le=1)]

_MOST_NAMES = 5


class ClientTraits(Section):
    """What one simulated client is like."""

    device: Literal["cuda", "cpu", "phone"] = Field(
        "cpu", description="What it computes on: told to policies and shown."
    )
    memory_gb: PositiveFloat | None = Field(
        None,
        description="Memory of that device, 10⁹ bytes; none: not told. Only policies look at it: nothing "
        "runs out of it.",
    )
    base: Choice | None = Field(
        None,
        description="How it holds the base model; none: as the run says. Each that differs loads a copy.",
    )
    step_s: PositiveFloat | None = Field(
        None, description="Seconds of one local step of the run's batch size; this or tokens_per_s."
    )
    tokens_per_s: PositiveFloat | None = Field(
        None, description="Tokens trained on in a second, padding not counted: instead of step_s."
    )
    uplink_kbps: PositiveFloat | None = Field(
        None, description="Kilobits (10³ bits) per second that it sends; none: takes no time."
    )
    downlink_kbps: PositiveFloat | None = Field(
        None, description="Kilobits (10³ bits) per second that it receives; none: takes no time."
    )
    latency_s: NonNegativeFloat = Field(
        0.0, description="Seconds that each transfer takes besides, either way."
    )
    availability: PositiveShare = Field(
        1.0, description="Share of the time in which it is on line."
    )
    mean_on_s: PositiveFloat = Field(
        3600.0, description="Mean seconds on line, where it is not always."
    )
    online: tuple[tuple[NonNegativeFloat, PositiveFloat], ...] | None = Field(
        None,
        description="When it is on line, as pairs of seconds, instead of `availability`: recorded times, "
        "which are repeated.",
    )
    period_s: PositiveFloat | None = Field(
        None, description="Seconds after which the times of `online` begin again."
    )
    failure_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Share of its rounds in which it dies while it trains."
    )
    data_share: PositiveShare = Field(
        1.0, description="Share of the training examples that the split gave it which it holds."
    )
    liar: Liar = Field("none", description="What it sends instead of its update; none: honest.")
    liar_scale: PositiveFloat = Field(1.0, description="Times that its lie is longer than that.")
    liar_norm: PositiveFloat | None = Field(
        None, description="L2 norm that its lie is stretched to; none: as long as it is."
    )
    claims_examples: PositiveInt | None = Field(
        None, description="Training examples that it says it holds; none: those that it holds."
    )

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.step_s is None) == (self.tokens_per_s is None):
            raise ValueError("expected either step_s or tokens_per_s: give one of them")
        return self

    @model_validator(mode="after")
    def _times_rise(self) -> Self:
        if (self.online is None) != (self.period_s is None):
            raise ValueError("online and period_s go together: give both, or none of them")
        if self.online is None or self.period_s is None:
            return self
        if self.availability < 1:
            raise ValueError("online says when it is there: leave availability out")
        edges = [edge for pair in self.online for edge in pair]
        if not edges or edges[-1] > self.period_s or sorted(set(edges)) != edges:
            raise ValueError(
                f"online: expected pairs of seconds that rise, below period_s ({self.period_s:g}), got "
                f"{[list(pair) for pair in self.online[:3]]}"
            )
        return self

    @property
    def on_line(self) -> float:
        """Its share of the time on line."""
        if self.online is None or self.period_s is None:
            return self.availability
        return sum(end - start for start, end in self.online) / self.period_s


class ClientGroup(ClientTraits):
    """One entry of the file: some clients that are alike."""

    name: str = Field(
        "*", description="A client's name, or a pattern: `*` and `?` stand for others."
    )
    count: PositiveInt | None = Field(
        None, description="Clients that it takes; none: all that it fits and that are left."
    )

    @property
    def traits(self) -> ClientTraits:
        """What the clients of the entry are like."""
        return ClientTraits(**self.model_dump(exclude={"name", "count"}))


class _FleetFile(Section):
    clients: list[dict[str, Any]] = Field(min_length=1, description="The entries.")


def read_fleet(path: Path) -> tuple[ClientGroup, ...]:
    """Return the entries of a fleet file. Raises ConfigError naming the entry and the key."""
    whole = validated(_FleetFile, read_yaml(path, "a fleet file"), str(path))
    return tuple(
        validated(ClientGroup, entry, f"{path}, entry {at} of clients")
        for at, entry in enumerate(whole.clients, 1)
    )


def fleet_text(entries: Iterable[ClientGroup], comment: str) -> str:
    """Return the text of a fleet file, one line for each entry; comment: its first lines."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()] + ["clients:"]
    for entry in entries:
        given = entry.model_dump(mode="json", exclude_defaults=True)
        first: dict[str, Any] = {key: given[key] for key in ("name", "count") if key in given}
        values: dict[str, Any] = {**first, "device": entry.device, **given}
        flow = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1 << 20)
        lines.append(f"  - {flow.strip()}")
    return "\n".join(lines) + "\n"


def share_out(entries: Sequence[ClientGroup], names: Iterable[str]) -> Mapping[str, ClientTraits]:
    """Return what each client is like. Raises ConfigError where entries and clients do not match."""
    left = sorted(names)
    traits: dict[str, ClientTraits] = {}
    for at, entry in enumerate(entries, 1):
        taken = [name for name in left if fnmatchcase(name, entry.name)][: entry.count]
        if len(taken) < (entry.count or 1):
            raise ConfigError(
                f"entry {at} of the fleet file wants {_wanted(entry)}, but {_named(taken)} of the data's "
                "clients fit that no entry before it has: describe as many clients as the data has"
            )
        traits |= dict.fromkeys(taken, entry.traits)
        left = [name for name in left if name not in traits]
    if left:
        raise ConfigError(
            f"the fleet file has no entry for {_named(left)} of the data's clients: add one, for "
            "example with name: '*'"
        )
    return traits


def _wanted(entry: ClientGroup) -> str:
    return f"{entry.count or 'any'} of the name {entry.name!r}"


def _named(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MOST_NAMES else ""
    return f"{len(names)}{' (' if names else ''}{', '.join(names[:_MOST_NAMES])}{more}" + (
        ")" if names else ""
    )
