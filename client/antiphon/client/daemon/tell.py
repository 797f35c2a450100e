"""What a site tells a coordinator of itself beside its updates: as much as its owner wants, and no more.

Every message of a site's own passes here. What is not told is left out of the message, whatever the
trainer says.
"""

from __future__ import annotations

from typing import Literal

from google.protobuf.message import Message
from pydantic import Field

from antiphon.core.section import Section
from antiphon.v1 import coordinator_pb2, update_pb2

NOT_TOLD = 0
"""A number of examples that a message leaves out."""

_OF_HARDWARE = (
    "device_kind",
    "device_name",
    "memory_bytes",
    "cpu_cores",
    "tokens_per_s",
    "libraries",
    "platform",
)


class Tell(Section):
    """What leaves beside the updates."""

    examples: Literal["rounded", "exact", "hidden"] = Field(
        "rounded",
        description="How many examples the site trains and measures on. `rounded`: down to two digits, and "
        "to tens; `hidden`: not told, and its updates weigh as much as the usual client's.",
    )
    hardware: bool = Field(
        True, description="Tell device, memory, cores, speed, platform and versions of libraries."
    )
    training_metrics: bool = Field(
        True, description="Tell loss, tokens and seconds of a training, beside its update."
    )
    scores: bool = Field(
        True,
        description="Measure on held-out rows and tell the scores; without it nothing is measured.",
    )


def told_examples(tell: Tell, examples: int) -> int:
    """Return the number of examples to tell; NOT_TOLD: none is."""
    if tell.examples == "hidden":
        return NOT_TOLD
    return examples if tell.examples == "exact" else rounded(examples)


def rounded(examples: int) -> int:
    """Return a number rounded down to two digits, and to tens: one row more or less is rarely seen."""
    if examples < 10:
        return min(examples, 1)
    unit = 10 ** max(1, len(str(examples)) - 2)
    return examples - examples % unit


def told_capabilities(
    tell: Tell, capabilities: coordinator_pb2.Capabilities
) -> coordinator_pb2.Capabilities:
    """Return what is told of the machine: all of it, or the version and the golden draws alone."""
    kept = coordinator_pb2.Capabilities()
    kept.CopyFrom(capabilities)
    if not tell.hardware:
        _leave_out(kept, _OF_HARDWARE)
    return kept


def told_update(tell: Tell, message: bytes) -> bytes:
    """Return a trainer's serialised Update as it may leave. Raises DecodeError for bytes that are none."""
    update = update_pb2.Update.FromString(message)
    update.DiscardUnknownFields()
    update.examples = told_examples(tell, update.examples)
    if not tell.training_metrics:
        _leave_out(update, ("metrics",))
    return update.SerializeToString(deterministic=True)


def _leave_out(message: Message, fields: tuple[str, ...]) -> None:
    for name in fields:
        message.ClearField(name)
