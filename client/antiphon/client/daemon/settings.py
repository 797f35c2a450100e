"""How a client's daemon runs: `client.yaml`, written by the owner of the site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from antiphon.client.daemon.data_view import SiteData
from antiphon.client.daemon.policy import SitePolicy
from antiphon.client.daemon.tell import Tell
from antiphon.core import section
from antiphon.core.address import OptionalAddress
from antiphon.core.section import Choice, Section, read_yaml, validated

RELOADABLE = frozenset({"free_disk_floor_mb", "keep_warm_s", "log_level", "policy"})
"""What a running daemon takes over when it is sent SIGHUP; the rest needs a restart."""


class ClientSettings(Section):
    """The settings of `antiphon client`."""

    coordinator: OptionalAddress = Field(
        None, description="HOST:PORT of the coordinator; none: where this machine joined."
    )
    data: SiteData = Field(description="What this client trains and measures on.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where to compute; `auto`: the fastest that is there."
    )
    base: Choice | None = Field(
        None,
        description="How base models are held in memory: the name of an installed base, or `auto`; none: "
        "as the run says.",
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads of the trainer; none: all cores."
    )
    keep_warm_s: NonNegativeFloat = Field(
        600.0, description="Seconds without a task after which the trainer's memory is given back."
    )
    work_dir: str | None = Field(
        None, description="Folder for models and updates on their way; none: beside the identity."
    )
    free_disk_floor_mb: NonNegativeFloat = Field(
        500.0, description="Free disk that a download must leave, 10⁶ bytes; else it is not begun."
    )
    metrics: OptionalAddress = Field(
        None, description="HOST:PORT of `/metrics` and `/healthz` (plain HTTP); none: off."
    )
    metrics_beyond_loopback: bool = Field(
        False, description="Let `metrics` listen on an address that other machines can reach."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of what is logged, to stderr."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="For people (`console`) or for programs (`json`)."
    )
    trainer: list[str] = Field(
        default_factory=lambda: [sys.executable, "-m", "antiphon.client.worker_process"],
        min_length=1,
        description="Command of the program that trains.",
        json_schema_extra={"default_said": "Antiphon's own"},
    )
    models: dict[str, str] = Field(
        default_factory=dict,
        description="Base models on this machine: a run's name for it → a folder or GGUF file (relative to "
        "client.yaml).",
    )
    tell: Tell = Field(
        default_factory=Tell, description="What the coordinator learns beside the updates."
    )
    policy: SitePolicy = Field(default_factory=SitePolicy, description="What the owner allows.")

    @model_validator(mode="after")
    def _metrics_stay_here(self) -> Self:
        host = (self.metrics or "localhost:0").rsplit(":", 1)[0].strip("[]")
        here = host in ("localhost", "::1") or host.startswith("127.")
        if not here and not self.metrics_beyond_loopback:
            raise ValueError(
                f"metrics: {self.metrics} can be reached by other machines: use 127.0.0.1, or say so "
                "with metrics_beyond_loopback: true"
            )
        return self


def load_settings(path: Path) -> ClientSettings:
    """Read a client's settings. Raises ConfigError."""
    raw = read_yaml(path, "a client's settings (at least `data: {dataset: …}`)")
    return validated(ClientSettings, _all_beside(raw, path.parent), str(path))


def reloaded(
    running: ClientSettings, wanted: ClientSettings
) -> tuple[ClientSettings, tuple[str, ...]]:
    """Return `running` with what may change taken from `wanted`, and the keys that need a restart."""
    return section.reloaded(running, wanted, RELOADABLE)


def _all_beside(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Take what lies beside the settings by its whole path: a daemon is started anywhere."""
    data, models = raw.get("data"), raw.get("models")
    if isinstance(data, dict) and isinstance(data.get("dataset"), str):
        raw = {**raw, "data": {**data, "dataset": _beside(data["dataset"], folder)}}
    if isinstance(models, dict):
        raw = {**raw, "models": {name: _beside(path, folder) for name, path in models.items()}}
    return raw


def _beside(name: Any, folder: Path) -> Any:
    """Return the whole path of what is there under a name; a name of nothing stays as it is."""
    if not isinstance(name, str):
        return name
    here = folder / Path(name).expanduser()
    try:
        there = here.exists()
    except OSError:
        # No file can have such a name: it is no path, or a mistake that the trainer names.
        there = False
    return str(here.resolve()) if there else name
