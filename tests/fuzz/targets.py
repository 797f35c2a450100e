"""Every decoder of bytes that somebody else has written, by name."""

from __future__ import annotations

from tests.fuzz.client_targets import CLIENT_TARGETS
from tests.fuzz.core_targets import CORE_TARGETS
from tests.fuzz.server_targets import SERVER_TARGETS
from tests.fuzz.target import Target
from tests.fuzz.toy import TOY

TARGETS: dict[str, Target] = {**CORE_TARGETS, **SERVER_TARGETS, **CLIENT_TARGETS}


def target_of(name: str) -> Target:
    """Return a target, or the toy."""
    return TOY if name == "toy" else TARGETS[name]
