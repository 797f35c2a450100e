"""What an update reports of the losses of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence


def loss_metrics(losses: Sequence[float]) -> dict[str, float]:
    """Return `loss`, their mean, and `rms_loss`, √(mean loss²), which Oort's utility is made of.

    losses: of the steps, nats per token; without one, both are NaN.
    """
    if not losses:
        return {"loss": math.nan, "rms_loss": math.nan}
    count = len(losses)
    return {"loss": sum(losses) / count, "rms_loss": math.hypot(*losses) / math.sqrt(count)}
