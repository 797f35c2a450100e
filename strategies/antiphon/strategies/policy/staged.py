"""A list of stages, each from a round on or from a held-out loss on.

The stage in force is the last one of the list that has begun; before the first has, every round is as
the config says. A stage by loss begins in the round after the first evaluation whose loss is below its
bound, and does not end when the loss rises again. What a stage does not name stays as in the config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice
from antiphon.strategies.policy.policy import Decision, Draft, Policy, Stop
from antiphon.strategies.scheduling.telemetry import Telemetry

_OWN_KEYS = ("from_round", "below_loss", "codec", "steps", "size")


@dataclass(frozen=True)
class PolicyStage:
    """One stage; None: not named."""

    from_round: int | None
    below_loss: float | None
    codec: CodecChoice | None
    steps: int | None
    size: int | None

    def has_begun(self, number: int, lowest_loss: float) -> bool:
        """Whether it is in force in round `number`, or was. lowest_loss: of all evaluations so far."""
        if self.from_round is not None:
            return number >= self.from_round
        return self.below_loss is not None and lowest_loss < self.below_loss

    @property
    def beginning(self) -> str:
        """From when it is in force, in words."""
        if self.from_round is not None:
            return f"from round {self.from_round}"
        return f"below a held-out loss of {self.below_loss:g}"


def staged(*, stages: list[dict[str, Any]]) -> Policy:
    """Change codec, steps or cohort size at given rounds, or once the held-out loss is low enough.

    A stage has `from_round` or `below_loss`, and any of `codec` (with its arguments beside it), `steps`
    and `size`. Raises ConfigError for anything else.
    """
    parsed = [_stage(at, raw) for at, raw in enumerate(stages, 1)]
    if not parsed:
        raise ConfigError("policy staged has no stages: list at least one, or use policy: fixed")
    sizes = [each.size for each in parsed if each.size is not None]

    def decide(telemetry: Telemetry, draft: Draft, rng: np.random.Generator) -> Decision | Stop:
        return _decide(parsed, telemetry, draft)

    return Policy(decide, smallest=min(sizes, default=None))


def _decide(stages: Sequence[PolicyStage], telemetry: Telemetry, draft: Draft) -> Decision:
    lowest = min((loss for _, loss in telemetry.run.losses), default=float("inf"))
    begun = [at for at, each in enumerate(stages) if each.has_begun(draft.round, lowest)]
    stage = stages[begun[-1]] if begun else PolicyStage(None, None, None, None, None)
    size = min(stage.size or draft.size, draft.size)
    codec = draft.codec and (stage.codec or draft.codec)
    steps = draft.work(draft.cohort(size), codec, stage.steps or draft.max_steps)
    reason = (
        f"stage {begun[-1] + 1} of {len(stages)} ({stage.beginning}){_told(stage, draft, size)}"
        if begun
        else f"as the config fixes it, before the first of {len(stages)} stages"
    )
    return Decision(size, steps, codec, draft.deadline_s, reason, _seen(stage, telemetry))


def _seen(stage: PolicyStage, telemetry: Telemetry) -> dict[str, dict[str, Any]]:
    losses = telemetry.run.losses
    if stage.below_loss is None or not losses:
        return {}
    return {"run": {"lowest_loss": min(loss for _, loss in losses)}}


def _told(stage: PolicyStage, draft: Draft, size: int) -> str:
    """Return what the stage changes, in words."""
    told = []
    if stage.codec and draft.codec:
        told.append(codec_words(stage.codec))
    if stage.steps:
        told.append(f"{_limited(stage.steps, draft.max_steps)} steps")
    if stage.size:
        told.append(f"cohort size {_limited(stage.size, size)}")
    return f": {', '.join(told)}" if told else ""


def _limited(asked: int, most: int) -> str:
    """Return what a stage gets of what it asks for."""
    return str(asked) if asked <= most else f"{most} (of {asked} asked for)"


def codec_words(codec: CodecChoice) -> str:
    """Return a codec with its arguments: `codec ecdq (bits 1)`."""
    arguments = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in codec.arguments.items()
    )
    return f"codec {codec.kind}" + (f" ({arguments})" if arguments else "")


def _stage(at: int, raw: Mapping[str, Any]) -> PolicyStage:
    where = f"policy staged: stage {at}"
    begins = [key for key in ("from_round", "below_loss") if raw.get(key) is not None]
    if len(begins) != 1:
        raise ConfigError(f"{where} needs either from_round or below_loss, got {dict(raw)}")
    loss = raw.get("below_loss")
    if loss is not None and (isinstance(loss, bool) or not isinstance(loss, int | float)):
        raise ConfigError(f"{where}: below_loss should be a number (nats per token), got {loss!r}")
    return PolicyStage(
        from_round=_count(where, raw, "from_round"),
        below_loss=None if loss is None else float(loss),
        codec=_codec(where, raw),
        steps=_count(where, raw, "steps"),
        size=_count(where, raw, "size"),
    )


def _count(where: str, raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{where}: {key} should be a whole number of at least 1, got {value!r}")
    return value


def _codec(where: str, raw: Mapping[str, Any]) -> CodecChoice | None:
    arguments = {key: value for key, value in raw.items() if key not in _OWN_KEYS}
    kind = raw.get("codec")
    if kind is None and arguments:
        raise ConfigError(
            f"{where} has {sorted(arguments)} but no codec that could take them; a stage's keys are "
            f"{', '.join(_OWN_KEYS)}"
        )
    if kind is None:
        return None
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: codec should be the name of a codec, got {kind!r}")
    registry.build("codec", kind, arguments)
    return CodecChoice(kind, arguments)
