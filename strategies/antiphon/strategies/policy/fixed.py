"""Every round as the config says."""

from __future__ import annotations

from antiphon.strategies.policy.policy import Policy


def fixed() -> Policy:
    """Every round as the config says."""
    return Policy()
