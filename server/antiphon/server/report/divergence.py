"""A run whose loss rises, or is no number any more: what to do about it, in one sentence."""

from __future__ import annotations

import math

from antiphon.server.report.comparison import compared
from antiphon.server.report.report_types import Report

_RATE = {"lora": "training.learning_rate", "seeds": "seeds.learning_rate"}


def advice_on(method: str, before: float, now: float) -> str:
    """Return what to do where a held-out loss has risen or is not finite; empty: it has not.

    before: of the untouched model, or of the best so far, nats per token; method: the run's.
    """
    if math.isfinite(now) and now <= before:
        return ""
    rate = _RATE.get(method, " and ".join(_RATE.values()))
    how = f"rose from {before:.3g} to {now:.3g}" if math.isfinite(now) else "is no number any more"
    return f"the held-out loss {how}: lower {rate}"


def advice_of(report: Report) -> str:
    """Return the same for a whole run, or where a client's own loss was no number."""
    method = str(report["facts"].get("method", ""))
    pair = compared(report, "loss")
    if any(each["what"] == "diverged" for each in report["problems"]):
        return advice_on(method, math.nan, math.nan)
    if pair.first is None or pair.last is None:
        return ""
    return advice_on(method, pair.first, pair.last)
