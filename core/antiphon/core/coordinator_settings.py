"""How a coordinator runs, whatever the run: addresses, limits, logs. An optional YAML file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from antiphon.core import section
from antiphon.core.address import Address, OptionalAddress
from antiphon.core.section import Section, read_yaml, validated

RELOADABLE = frozenset(
    {
        "check_ins_per_s",
        "free_disk_floor_mb",
        "lease_s",
        "log_level",
        "max_upload_mb",
        "upload_slots",
    }
)
"""What a running coordinator takes over when it is sent SIGHUP; the rest needs a restart."""


class CoordinatorSettings(Section):
    """The settings of `antiphon serve`."""

    listen: Address = Field(
        "0.0.0.0:8470", description="HOST:PORT for enrolled clients (mutual TLS)."
    )
    enrolment: OptionalAddress = Field(
        "0.0.0.0:8471", description="HOST:PORT for machines that join; none: nobody can join now."
    )
    metrics: OptionalAddress = Field(
        "127.0.0.1:9470",
        description="HOST:PORT of `/metrics`, `/healthz`, `/status` (plain HTTP, no secrets); none: off.",
    )
    lease_s: PositiveFloat = Field(
        13.0, description="Seconds without a call after which a client counts as gone."
    )
    check_ins_per_s: PositiveFloat = Field(
        500.0, description="Calls for work per second that a large fleet is slowed down to."
    )
    upload_slots: PositiveInt = Field(64, description="Uploads at the same time; the rest waits.")
    max_upload_mb: PositiveFloat = Field(
        4096.0, description="Largest upload of one client, in 10⁶ bytes."
    )
    free_disk_floor_mb: Annotated[float, Field(ge=0)] = Field(
        512.0,
        description="Free disk, in 10⁶ bytes, below which no upload begins and no round opens.",
    )
    max_concurrent_calls: PositiveInt = Field(
        20_000, description="Calls at the same time; more are refused. A waiting client holds one."
    )
    certificate_ttl_h: Annotated[float, Field(ge=0.25, le=8760)] = Field(
        24.0, description="Life of a client's certificate, hours: a quarter to 8760 (a year)."
    )
    renewal_grace_d: Annotated[float, Field(ge=0)] = Field(
        30.0, description="Days after its end in which a certificate can still be renewed."
    )
    drain_s: PositiveFloat = Field(
        10.0, description="Seconds that calls in progress are given when the coordinator ends."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of what is logged, to stderr."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="For people (`console`) or for programs (`json`)."
    )


def load_settings(path: Path | None) -> CoordinatorSettings:
    """Read a coordinator's settings; none: the defaults. Raises ConfigError."""
    if path is None:
        return CoordinatorSettings()
    return validated(CoordinatorSettings, read_yaml(path, "a coordinator's settings"), str(path))


def reloaded(
    running: CoordinatorSettings, wanted: CoordinatorSettings
) -> tuple[CoordinatorSettings, tuple[str, ...]]:
    """Return `running` with what may change taken from `wanted`, and the keys that need a restart."""
    return section.reloaded(running, wanted, RELOADABLE)
