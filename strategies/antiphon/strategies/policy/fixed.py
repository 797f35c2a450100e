"""Every round as the config says."""

from __future__ import annotations

import numpy as np

from antiphon.strategies.policy.policy import Decision, Draft, Policy, as_drafted
from antiphon.strategies.scheduling.telemetry import Telemetry


def fixed() -> Policy:
    """Every round as the config says."""
    return Policy(_decide)


def _decide(telemetry: Telemetry, draft: Draft, rng: np.random.Generator) -> Decision:
    return as_drafted(draft, "as the config fixes it")
