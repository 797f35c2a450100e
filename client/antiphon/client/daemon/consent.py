"""The owner's word on a single run: `antiphon client approve RUN` and `refuse RUN`, kept in the home.

The file is the owner's: the command writes it, the daemon reads it again whenever it may have changed. An
approval is of one config: a run that changes what it asks for waits for a new one. A refusal is of the run,
whatever it asks for.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from antiphon.client.daemon.open_run import OpenRun
from antiphon.client.daemon.policy import SitePolicy
from antiphon.client.reason import Reason
from antiphon.core.errors import UserError
from antiphon.core.home import write_private
from antiphon.core.json_text import json_text
from antiphon.core.refusals import Refusal

OwnerVerdict = Literal["approved", "refused"]


@dataclass(frozen=True)
class OwnerDecision:
    """What the owner said of a run. digest: of the config that it had; at: seconds since the Unix epoch."""

    verdict: OwnerVerdict
    digest: str
    at: float


def decisions_file(client: Path) -> Path:
    """Return where the owner's decisions are, below `client/` of the home folder."""
    return client / "decisions.json"


def read_decisions(client: Path) -> Mapping[str, OwnerDecision]:
    """Return the decisions by run. Raises UserError where the file cannot be read."""
    path = decisions_file(client)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {str(run): OwnerDecision(**each) for run, each in values.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): no run counts as approved. Move it away and decide again"
        ) from None


def decide(client: Path, run_id: str, decision: OwnerDecision) -> None:
    """Write a decision down; the daemon sees it within seconds. Raises UserError as read_decisions."""
    decisions = {**read_decisions(client), run_id: decision}
    content = json_text({run: asdict(each) for run, each in decisions.items()}, indent=1)
    write_private(decisions_file(client), content.encode())


class Consent:
    """What the daemon knows of the owner's word."""

    def __init__(self, client: Path, policy: Callable[[], SitePolicy]) -> None:
        """client: `client/` of the home folder; policy: that of now."""
        self._client, self._policy = client, policy
        self._read_at: tuple[int, int] | None = None
        self._decisions: Mapping[str, OwnerDecision] = {}
        self._unreadable = ""

    def missing(self, run: OpenRun) -> tuple[Reason, ...]:
        """Return why this run must wait, or may not be; none: the owner has nothing against it."""
        self._look()
        if self._unreadable:
            return (Reason(Refusal.APPROVAL, self._unreadable),)
        decision = self._decisions.get(run.run_id)
        if decision is not None and decision.verdict == "refused":
            return (Reason(Refusal.REFUSED, f"the owner has refused the run {run.run_id}"),)
        approved = decision is not None and decision.digest == run.digest
        if self._policy().approve == "auto" or approved:
            return ()
        return (Reason(Refusal.APPROVAL, _how(run, changed=decision is not None)),)

    def changed(self) -> bool:
        """Whether the owner has decided something since the last look; it is told once."""
        if self._stamp() == self._read_at:
            return False
        self._look()
        return True

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._read_at:
            return
        try:
            self._decisions, self._unreadable = read_decisions(self._client), ""
        except UserError as error:
            self._unreadable = str(error)
        self._read_at = stamp

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = decisions_file(self._client).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


def _how(run: OpenRun, *, changed: bool) -> str:
    """Return what the owner is to do. A run's name is a peer's word: quoted, as it may be pasted."""
    name, since = shlex.quote(run.run_id), " has changed since, and" if changed else ""
    return (
        f"the run {name}{since} waits for the owner's word: `antiphon client explain {name}` shows what it "
        f"would do, `antiphon client approve {name}` lets it (or `refuse`)"
    )
