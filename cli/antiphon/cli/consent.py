"""`antiphon client approve` and `antiphon client refuse`: the owner's word on one run."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from antiphon.cli.terminal import harmless
from antiphon.client.daemon.consent import OwnerDecision, OwnerVerdict, decide
from antiphon.client.daemon.known_runs import KnownRun, KnownRuns
from antiphon.core.errors import UserError


def decide_on(
    client: Path, run_id: str, verdict: OwnerVerdict, digest: str | None, console: Console
) -> None:
    """Write down what the owner says of a run. client: `client/` of the home folder.

    digest: how the digest of the config begins that the owner has read; a run that asks for something else
    by now is not approved. Raises UserError where it does, or where the run is not known.
    """
    known = KnownRuns(client).named(run_id)
    if digest is not None and not (digest and known.digest.startswith(digest)):
        raise UserError(
            f"the config of {run_id} is {short(known)} now, not {digest[:64]}: it has changed. Look at it "
            "again (`antiphon client explain`)"
        )
    decide(client, run_id, OwnerDecision(verdict, known.digest, time.time()))
    console.print(
        f"{verdict}: {harmless(run_id)}, config {short(known)}; a daemon at work sees it within seconds",
        highlight=False,
        soft_wrap=True,
    )


def short(known: KnownRun) -> str:
    """Return enough of a config's digest to know it by."""
    return known.digest[:12]
