"""The tables of the fleet's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from antiphon.dashboard.fleet_view import ClientView
from antiphon.dashboard.plain_text import ago, escaped, moment, shown
from antiphon.dashboard.run_view import RunView
from antiphon.dashboard.standing import Life, Live
from antiphon.server.enrolment.ledger import FleetMember

SOON_S = 4 * 3600.0
"""A certificate that ends within this time is warned of: its client should have renewed it long before."""

_MOST_NAMES = 5

COLUMNS = {
    "memory": st.column_config.NumberColumn(format="bytes"),
    "tokens/s": st.column_config.NumberColumn(format="%.0f", help="Training, as measured at join"),
    "up": st.column_config.NumberColumn(format="bytes", help="Bytes to the coordinator"),
    "down": st.column_config.NumberColumn(format="bytes", help="Bytes to the client"),
}
MEMBER_COLUMNS = {
    name: st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC")
    for name in ("enrolled", "last call", "certificate until", "revoked")
}


def who_is_here(view: RunView, life: Life) -> str:
    """Return how many clients can be given work; of a run that nothing is at work on, none can."""
    joined = len(view.clients)
    took = f"{joined} client{'' if joined == 1 else 's'} joined this run"
    if life == "interrupted":
        return f"{took}. It is interrupted: who is there shows when it goes on with --resume."
    if life != "running":
        return f"{took}, which is over."
    here = sum(each.present for each in view.clients)
    return f"{here} of {joined} clients can be given work now."


def clients(
    view: RunView,
    live: Live | None,
    now: float,
    *,
    life: Life = "running",
) -> pd.DataFrame:
    """Return a row for each client of a run. now: Unix epoch.

    Where nothing is at work on the run, it is not said who is there.
    """
    said = {str(each.get("name")): each for each in live.clients} if live else {}
    found = view.clients
    rows = {
        "client": [shown(each.name) for each in found],
        "there": [each.present if life == "running" else None for each in found],
        "doing": [_doing(each, view, said.get(each.name, {})) for each in found],
        "last seen": [_seen(each, view, said.get(each.name, {}), now) for each in found],
        "examples": [each.examples for each in found],
        "updates": [each.updates for each in found],
        "problems": [sum(each.problems.values()) for each in found],
        "device": [shown(each.device, 60) for each in found],
        "memory": [each.memory_bytes for each in found],
        "tokens/s": [each.tokens_per_s for each in found],
        "up": [view.by_client.get((each.name, "up")) for each in found],
        "down": [view.by_client.get((each.name, "down")) for each in found],
        "last problem": [shown(each.last_reason) for each in found],
    }
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def apart(view: RunView) -> pd.DataFrame:
    """Return a row for each client that declined the run, is benched or was revoked, with its reason."""
    return pd.DataFrame(
        {
            "client": [shown(each.name) for each in view.apart],
            "takes no part": [each.what for each in view.apart],
            "until round": [each.until_round for each in view.apart],
            "reason": [shown(each.reason) for each in view.apart],
        }
    ).dropna(axis="columns", how="all")


def members(found: Sequence[FleetMember], now: float) -> pd.DataFrame:
    """Return a row for each client that ever joined the fleet. now: seconds since the Unix epoch."""
    return pd.DataFrame(
        {
            "client": [shown(each.name) for each in found],
            "certificate": [_certificate(each, now) for each in found],
            "certificate until": [moment(each.certificate_until) for each in found],
            "last call": [moment(each.last_seen) for each in found],
            "enrolled": [moment(each.enrolled_at) for each in found],
            "revoked": [moment(each.revoked_at) for each in found],
        }
    )


def expiry_warning(found: Sequence[FleetMember], now: float) -> str:
    """Return whose certificate has ended or ends soon, as Markdown; empty: nobody's."""
    due = [
        each
        for each in found
        if each.revoked_at is None
        and each.certificate_until is not None
        and each.certificate_until < now + SOON_S
    ]
    if not due:
        return ""
    names = ", ".join(escaped(each.name) for each in due[:_MOST_NAMES])
    more = f" and {len(due) - _MOST_NAMES} more" if len(due) > _MOST_NAMES else ""
    return (
        f"Certificates that have ended, or end within {SOON_S / 3600:.0f} hours: {names}{more}. A daemon "
        "renews its own as soon as it runs and reaches the coordinator."
    )


def _doing(client: ClientView, view: RunView, said: Mapping[str, object]) -> str:
    if said.get("working_on"):
        return shown(f"round {said['working_on']}, step {said.get('steps_done')}", 60)
    slot = view.state.cohort.get(client.name)
    return f"round {view.state.round}: {slot.status}" if slot else ""


def _seen(client: ClientView, view: RunView, said: Mapping[str, object], now: float) -> str:
    silent = said.get("silent_s")
    if isinstance(silent, int | float):
        return ago(float(silent))
    if client.heard_at is None:
        return ""
    if view.is_simulated:  # its clock is virtual
        return f"at {client.heard_at:.0f} s of the run"
    return ago(now - client.heard_at)


def _certificate(member: FleetMember, now: float) -> str:
    if member.revoked_at is not None:
        return "revoked"
    if member.certificate_until is None:
        return "none"
    left = member.certificate_until - now
    if left <= 0:
        return "ended"
    return f"{left / 86_400:.0f} days left" if left > 2 * 86_400 else f"{left / 3600:.0f} h left"
