"""Whether anything is at work on a run, and what the coordinator that is says of it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.error import URLError

from antiphon.core.journal import writer_is_alive
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.reading import Stamp

Life = Literal["empty", "running", "interrupted", "complete", "stopped", "unreadable"]
"""interrupted: the run is not over, and nothing is at work on it."""

RECENT_S = 30.0
"""An engine that wrote so shortly ago is taken to be at work, also where its process cannot be seen."""

_ANSWER_S = 0.5
_MOST_BYTES = 4_000_000


@dataclass(frozen=True)
class Live:
    """What a coordinator at work says of its run. why: why it waits; clients: each as plain values."""

    why: str
    healthy: bool
    clients: tuple[Mapping[str, Any], ...]


def life_of(
    folder: RunFolder, stamp: Stamp | None, end: tuple[bool, str] | None, now: float
) -> Life:
    """Return whether a run is over, or else whether anything is at work on it at `now` (Unix epoch).

    end: (complete, reason) once the run is over, as in the chronicle.
    """
    if stamp is None:
        return "empty"
    if end is not None:
        return "complete" if end[0] else "stopped"
    at_work = now - stamp.changed_at < RECENT_S or writer_is_alive(folder.journal_file)
    return "running" if at_work else "interrupted"


def asked(folder: RunFolder, run_id: str) -> Live | None:
    """Ask the coordinator that is at work on a run; none: there is none, or it says nothing."""
    try:
        address = json.loads(folder.live_file.read_text())["status"]
        with urllib.request.urlopen(f"http://{address}/status", timeout=_ANSWER_S) as answer:
            told = json.loads(answer.read(_MOST_BYTES))
        if told["run_id"] != run_id:
            return None
        return Live(str(told["why"]), bool(told["healthy"]), tuple(told["clients"]))
    except (OSError, ValueError, LookupError, TypeError, URLError):
        return None
