"""A run whose loss rises, or is no number any more: what to do about it, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from antiphon.server.report.comparison import compared
from antiphon.server.report.report_types import Report
from antiphon.strategies.methods.method import Method

_RATE = "learning_rate"


def rates_of(method: Method) -> tuple[str, ...]:
    """Return the keys of the config that hold the learning rates of a method."""
    sections = dict.fromkeys(each.trainer.section for each in method.roles)
    return tuple(f"{each}.{_RATE}" for each in sections if each)


def advice_on(rates: Sequence[str], before: float, now: float) -> str:
    """Return what to do where a held-out loss has risen or is not finite; empty: it has not.

    before: of the untouched model, or of the best so far, nats per token; rates: keys of
    the run's learning rates.
    """
    if math.isfinite(now) and now <= before:
        return ""
    rate = " and ".join(rates) or _RATE
    how = f"rose from {before:.3g} to {now:.3g}" if math.isfinite(now) else "is no number any more"
    return f"the held-out loss {how}: lower {rate}"


def advice_of(report: Report) -> str:
    """Return the same for a whole run, or where a client's own loss was no number."""
    rates = [key for key in report["settings"] if key.endswith(f".{_RATE}")]
    pair = compared(report, "loss")
    if any(each["what"] == "diverged" for each in report["problems"]):
        return advice_on(rates, math.nan, math.nan)
    if pair.first is None or pair.last is None:
        return ""
    return advice_on(rates, pair.first, pair.last)
