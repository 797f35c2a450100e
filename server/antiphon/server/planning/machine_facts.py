"""What a client's machine says of itself when it joins, as the journal keeps it."""

from __future__ import annotations

from antiphon.core.types import Plain
from antiphon.v1 import coordinator_pb2

_MAX_TEXT = 200
_MAX_LIBRARIES = 32


def facts_of(request: coordinator_pb2.JoinRequest) -> dict[str, Plain]:
    """Return the facts by name, none where a client does not tell; texts of the peer are cut."""
    told = request.capabilities
    libraries = sorted(told.libraries.items())[:_MAX_LIBRARIES]
    facts: dict[str, Plain] = {
        "antiphon": told.antiphon_version[:_MAX_TEXT],
        "device": told.device_kind[:_MAX_TEXT],
        "device_name": told.device_name[:_MAX_TEXT],
        "base": told.base[:_MAX_TEXT],
        "memory_bytes": told.memory_bytes,
        "cpu_cores": told.cpu_cores,
        "tokens_per_s": told.tokens_per_s,
        "platform": told.platform[:_MAX_TEXT],
        "evaluation_examples": request.evaluation_examples,
        "libraries": ", ".join(f"{name} {version}"[:_MAX_TEXT] for name, version in libraries),
    }
    return {name: fact or None for name, fact in facts.items()}
