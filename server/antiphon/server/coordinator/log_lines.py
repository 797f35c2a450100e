"""What a coordinator's log says of the rounds."""

from __future__ import annotations

import structlog

from antiphon.core.events import Event, RoundEvaluated, RoundPlanned, RoundUndone, RunStopped

log = structlog.get_logger()


def say(event: Event) -> None:
    """Log what the federation has done, where people want to know it."""
    match event:
        case RoundPlanned():
            cohort = len(event.cohort)
            log.info("round planned", round=event.round, cohort=cohort, reason=event.reason)
        case RunStopped():
            log.info("the run ends", reason=event.reason)
        case RoundUndone():
            log.warning("round undone", round=event.round, reason=event.reason)
        case RoundEvaluated():
            scores = {name: round(value, 4) for name, value in event.metrics.items()}
            log.info("round evaluated", round=event.round, **scores)
