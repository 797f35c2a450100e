"""One YAML is one run: the only place where pydantic sees a config.

Field names follow PEFT and Hugging Face where they exist. Every model is frozen and refuses unknown keys;
every field says its unit. `load` reads a file, applies `key.sub=value` overrides and validates; what a
`kind:` names is checked against the installed strategies. Inside the code, pass plain arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    PositiveInt,
    model_validator,
)

from antiphon.core import defaults, registry, section
from antiphon.core.errors import ConfigError
from antiphon.core.json_text import json_text
from antiphon.core.method_choice import MethodChoice
from antiphon.core.privacy_sections import PrivacyConfig
from antiphon.core.run_sections import (
    AUTO,
    CohortConfig,
    CompressionConfig,
    DataConfig,
    EngineConfig,
    EvaluationConfig,
    LoraConfig,
    MixedConfig,
    ModelConfig,
    OutputConfig,
    ProjectionConfig,
    SeedsConfig,
    TrainingConfig,
)
from antiphon.core.section import Choice, Section, read_yaml, validated


class RunConfig(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the run, also of its folder: letters, digits, `.`, `_`, `-`."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Everything random in the run follows from it."
    )
    rounds: PositiveInt = Field(description="Rounds to run.")
    model: ModelConfig = Field(description="The base model.")
    data: DataConfig = Field(description="The data and its split.")
    method: MethodChoice = Field(
        MethodChoice(kind=defaults.METHOD),
        description="What clients do and send: a preset, or a space, a trainer and a form (or roles).",
    )
    lora: LoraConfig = Field(default_factory=LoraConfig, description="Shape of the adapter.")
    frames: Choice = Field(
        Choice(kind=defaults.FRAMES),
        description="Where the factors come from that stand still (spaces core and lora_b).",
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="First-order local training."
    )
    seeds: SeedsConfig = Field(
        default_factory=SeedsConfig, description="Zeroth-order local training."
    )
    projection: ProjectionConfig = Field(
        default_factory=ProjectionConfig,
        description="Seeded projections of a delta (form projection).",
    )
    mixed: MixedConfig = Field(
        default_factory=MixedConfig, description="Who sends what (method mixed)."
    )
    cohort: CohortConfig = Field(default_factory=CohortConfig, description="Who, and how long.")
    policy: Choice = Field(
        Choice(kind=defaults.POLICY),
        description="What decides codec, cohort and work, round by round.",
    )
    compression: CompressionConfig = Field(
        default_factory=CompressionConfig, description="How tensors are packed."
    )
    aggregation: Choice = Field(
        Choice(kind=defaults.AGGREGATION),
        description="How updates become one. product and factors are means; of seed-scalars they are the "
        "same.",
    )
    protection: tuple[Choice, ...] = Field(
        tuple(Choice(kind=each) for each in defaults.PROTECTION),
        description="What bounds one client's say in a run of three clients or more, in this order; "
        "`[]`: nothing. Unless they are given, those that are usual with the method.",
    )
    stages: tuple[Choice, ...] = Field(
        (),
        description="What else is done around the aggregation, in this order, before server_opt.",
    )
    server_opt: Choice = Field(
        Choice(kind=defaults.SERVER_OPT), description="What the server does with the mean update."
    )
    privacy: PrivacyConfig = Field(
        default_factory=PrivacyConfig,
        description="Sums under masks: see docs/privacy.md.",
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="Held-out measurements."
    )
    output: OutputConfig = Field(default_factory=OutputConfig, description="The run folder.")
    engine: EngineConfig = Field(default_factory=EngineConfig, description="Where it runs.")

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        size, quorum = self.cohort.size, self.cohort.quorum
        if size is not None and quorum is not None and quorum > size:
            raise ValueError(
                f"cohort.quorum is {quorum} but cohort.size is {size}: a round could never close. "
                "Lower the quorum or raise the size"
            )
        high = [name for name, r in self.lora.client_ranks.items() if r > self.lora.r]
        if high:
            raise ValueError(
                f"lora.client_ranks of {high} is above lora.r ({self.lora.r}), the rank of the global "
                "adapter: raise lora.r"
            )
        return self

    @model_validator(mode="after")
    def _round_closes(self) -> Self:
        cohort = self.cohort
        asynchronous, quorum = cohort.asynchronous, cohort.quorum or 1
        if asynchronous and asynchronous.buffer is not None and quorum > asynchronous.buffer:
            raise ValueError(
                f"cohort.quorum is {quorum} but cohort.asynchronous.buffer is {asynchronous.buffer}: a "
                "fold of a full buffer would be below the quorum. Lower the quorum or raise the buffer"
            )
        if asynchronous and cohort.over_selection > 1:
            raise ValueError(
                f"cohort.over_selection is {cohort.over_selection:g}, but in asynchronous rounds nobody is "
                "waited for: leave it out, or raise cohort.size"
            )
        small = [each for each in self.policy_stages if isinstance(each.get("size"), int)]
        if small and min(each["size"] for each in small) < quorum:
            raise ValueError(
                f"cohort.quorum is {quorum}, but a stage of the policy sets a smaller cohort size: lower "
                "the quorum or raise that size"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        down, changes = self.compression.downlink.kind, self.compression.changes
        if down != defaults.DENSE and self.lora.client_ranks and not changes:
            raise ValueError(
                "compression.downlink packs one adapter for all, but lora.client_ranks gives some clients "
                "another: leave one of them out"
            )
        if changes and down == defaults.DENSE:
            raise ValueError(
                f"compression.changes packs what a round has changed, but compression.downlink is {down}: "
                "name a codec that packs there, or leave changes out"
            )
        return self

    @property
    def policy_stages(self) -> list[Mapping[str, Any]]:
        """The stages of the policy, as far as they look like some: the policy checks its arguments."""
        stages = self.policy.arguments.get("stages")
        found = stages if isinstance(stages, list) else []
        return [each for each in found if isinstance(each, Mapping)]


def load(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML, apply overrides such as `training.learning_rate=1e-4`, and validate.

    Raises ConfigError naming the key, what was got and what was expected.
    """
    raw = read_yaml(path, "a run's YAML file")
    for each in overrides:
        raw = override(raw, each)
    return validate(raw, source=str(path))


def validate(raw: Mapping[str, Any], source: str = "config") -> RunConfig:
    """Turn plain values into a RunConfig, or raise ConfigError listing everything that is wrong."""
    config = validated(RunConfig, raw, source)
    for kind, choice in _choices(config):
        registry.build(kind, choice.kind, choice.arguments)
    try:
        _check_scheduler(config)
        if "protection" not in raw:
            config = _usually_protected(config)
        _check_method(config)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return config


def _usually_protected(config: RunConfig) -> RunConfig:
    """Return a config that names no protections with those that are usual with it."""
    if config.privacy.secure_aggregation:  # nobody sees what they would look at
        return config.model_copy(update={"protection": ()})
    added = tuple(Choice(kind=each) for each in _method(config).usual_protection)
    return config.model_copy(update={"protection": (*config.protection, *added)})


def _method(config: RunConfig) -> Any:
    chosen = config.method
    return registry.build("method", chosen.kind, chosen.arguments, {"config": config})


def _check_method(config: RunConfig) -> None:
    method = _method(config)
    wish = config.model.base
    if wish.kind != AUTO:
        method.check_base(registry.build("base", wish.kind, wish.arguments))


def _check_scheduler(config: RunConfig) -> None:
    """Raise ConfigError where a part of the clients is asked for, of a scheduler that takes all of them."""
    cohort, kind = config.cohort, config.cohort.scheduler.kind
    if not registry.build("scheduler", kind, cohort.scheduler.arguments).whole:
        return
    takes = f"cohort.scheduler is {kind}, which takes everybody: choose cohort.scheduler: random"
    if cohort.size is not None:
        raise ConfigError(f"cohort.size is {cohort.size} but {takes}, or leave the size out")
    if any("size" in each for each in config.policy_stages):
        raise ConfigError(
            f"a stage of the policy sets a cohort size, but {takes}, or leave the size out"
        )
    if cohort.over_selection > 1:
        raise ConfigError(
            f"cohort.over_selection is {cohort.over_selection:g}, but cohort.scheduler {kind} asks "
            "everybody already: choose cohort.scheduler: random and a cohort.size, or leave it out"
        )


def override(raw: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return plain values with one override `key.sub=value` applied; the value is read as YAML.

    Raises ConfigError where the text is no override.
    """
    return section.override(RunConfig, raw, text)


def resolved(config: RunConfig) -> dict[str, Any]:
    """Return every value of the config, defaults filled in, as plain YAML types."""
    return config.model_dump(mode="json")


def config_hash(config: RunConfig) -> str:
    """Return a hash of all that decides the run's result (not where its folder is)."""
    values = resolved(config)
    values.pop("output")
    return hashlib.sha256(json_text(values, sort_keys=True).encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a run's YAML, for editors."""
    return RunConfig.model_json_schema()


def _choices(config: RunConfig) -> list[tuple[str, Choice]]:
    return [
        ("aggregation", config.aggregation),
        *(("protection", each) for each in config.protection),
        *(("stage", each) for each in config.stages),
        ("server_opt", config.server_opt),
        ("codec", config.compression.uplink),
        ("codec", config.compression.downlink),
        ("scheduler", config.cohort.scheduler),
        ("policy", config.policy),
        ("format", config.data.format),
        ("partition", config.data.partition),
    ]
