"""Which config each run had when this site first took part: it may not change under one name.

Else a coordinator could get an owner, and an owner's policy, to agree to one run and then carry out
another: the same rows under many configs tell more of each row than under one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from antiphon.client.daemon.open_run import OpenRun
from antiphon.client.reason import Reason
from antiphon.core.errors import RunFolderError
from antiphon.core.home import write_private
from antiphon.core.json_text import json_text
from antiphon.core.refusals import Refusal

_MOST_KEPT = 4096


class SettledConfigs:
    """The digests of configs by run, in one file; runs are named by a hash: their names are a peer's."""

    def __init__(self, client: Path) -> None:
        """client: `client/` of the home folder. Nothing is made before there is a run."""
        self._file = client / "configs.json"

    def differs(self, run: OpenRun) -> tuple[Reason, ...]:
        """Return why a run may not go on: its config is another one than before."""
        try:
            known = self._read().get(_name(run))
        except (OSError, ValueError, RecursionError) as error:
            return (Reason(Refusal.CONFIG_CHANGED, f"{self._file} cannot be read: {error}"),)
        if known in (None, run.settled):
            return ()
        return (
            Reason(
                Refusal.CONFIG_CHANGED,
                f"the config of the run {run.run_id!r} has changed since this site took part in it: the "
                "coordinator must give it another name (a new run), or its old config back. If you trust "
                f"the change, or it is another fleet's run, remove {self._file}",
            ),
        )

    def keep(self, run: OpenRun) -> tuple[Reason, ...]:
        """Write down the config of a run that this site takes part in; return why it cannot be."""
        try:
            known = self._read()
            if _name(run) in known:
                return ()
            newest = list({**known, _name(run): run.settled}.items())[-_MOST_KEPT:]
            write_private(self._file, json_text(dict(newest)).encode())
        except (OSError, ValueError, RecursionError, RunFolderError) as error:
            return (Reason(Refusal.DISK, f"cannot write down a run in {self._file}: {error}"),)
        return ()

    def _read(self) -> dict[str, str]:
        try:
            values = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        if not isinstance(values, dict):
            raise ValueError("expected an object")
        return values


def _name(run: OpenRun) -> str:
    return hashlib.sha256(run.run_id.encode()).hexdigest()[:32]
