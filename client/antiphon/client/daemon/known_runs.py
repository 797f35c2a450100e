"""The runs that this site has been offered, kept in its home for its owner to look at.

A file for each run, named by a hash: its name is a peer's. What it says is the coordinator's word, as it
came. The newest are kept, so that a coordinator which makes up runs cannot fill the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from antiphon.client.daemon.open_run import OpenRun, open_run
from antiphon.core.errors import RunFolderError, UserError
from antiphon.core.home import write_private
from antiphon.core.json_text import json_text
from antiphon.v1 import coordinator_pb2

log = structlog.get_logger()

MOST_KEPT = 32
"""Runs that are kept; the oldest are forgotten."""


@dataclass(frozen=True)
class KnownRun:
    """A run as it was offered.

    digest: of its config as it arrived; min_cohort: clients of a round at least; seen_at: when it was met
    last, seconds since the Unix epoch; standing: what this site does about it; reasons: codes, where it
    takes no part; asks: role, steps, batch and accumulation of each role.
    """

    run_id: str
    digest: str
    config: Mapping[str, Any]
    min_cohort: int
    max_upload_bytes: int
    seen_at: float
    standing: str
    reasons: tuple[str, ...] = ()
    asks: tuple[tuple[str, int, int, int], ...] = ()

    def opened(self) -> OpenRun:
        """Return it as a client understands it. Raises Declined where this version does not."""
        hello = coordinator_pb2.HelloResponse(
            run_id=self.run_id,
            config=json_text(self.config).encode(),
            min_cohort=self.min_cohort,
            max_upload_bytes=self.max_upload_bytes,
            asks=[_asked(*each) for each in self.asks],
        )
        return replace(open_run(hello), digest=self.digest)


class KnownRuns:
    """The runs in one folder."""

    def __init__(self, client: Path) -> None:
        """client: `client/` of the home folder. Nothing is made before there is a run."""
        self._folder = client / "runs"

    def note(self, run: OpenRun, now: float, standing: str, reasons: tuple[str, ...] = ()) -> None:
        """Write down where a run stands. A disk that is full is logged: it is told elsewhere."""
        known = KnownRun(
            run.run_id,
            run.digest,
            run.config,
            run.min_cohort,
            run.max_upload_bytes,
            now,
            standing,
            reasons,
            tuple((each.method, each.steps, each.batch, each.accumulation) for each in run.works),
        )
        try:
            write_private(self._file(run.run_id), json_text(asdict(known)).encode())
            for old in self._files()[MOST_KEPT:]:
                old.unlink(missing_ok=True)
        except (OSError, RunFolderError, RecursionError) as error:
            log.error("a run could not be written down", run=run.run_id, reason=str(error))

    def all(self) -> list[KnownRun]:
        """Return what is known, the newest first; what cannot be read is left out."""
        found = (_read(path) for path in self._files())
        return sorted((each for each in found if each), key=lambda each: -each.seen_at)

    def named(self, run_id: str | None) -> KnownRun:
        """Return a run, or the newest. Raises UserError where it is not known."""
        known = self.all()
        for each in known:
            if run_id in (None, each.run_id):
                return each
        if not known:
            raise UserError(
                "no run is known here yet: it is when the daemon has asked the coordinator "
                "(`antiphon client`)"
            )
        names = ", ".join(each.run_id for each in known)
        raise UserError(f"no run {run_id!r} is known here; there are {names}")

    def _file(self, run_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(run_id.encode()).hexdigest()[:32]}.json"

    def _files(self) -> list[Path]:
        found = [path for path in self._folder.glob("*.json") if not path.name.startswith(".")]
        return sorted(found, key=lambda path: -path.stat().st_mtime)


def _asked(role: str, steps: int, batch: int, accumulation: int) -> coordinator_pb2.RoleWork:
    return coordinator_pb2.RoleWork(role=role, steps=steps, batch=batch, accumulation=accumulation)


def _read(path: Path) -> KnownRun | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = KnownRun(**values)
        asks = tuple((role, steps, batch, passes) for role, steps, batch, passes in known.asks)
        return replace(known, reasons=tuple(known.reasons), asks=asks)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
