"""What the ledger of a site says: a line of JSON for each thing that is about to leave, and each answer.

    {"n": 7, "before": "…", "at": "2026-03-02T11:00:00.000Z", "kind": "sending", "to": "hub:8470",
     "purpose": "update", "method": "SubmitUpdate", "run": "…", "round": 3, "bytes": 311, "sha256": "…",
     "privacy": null}
    {"n": 8, "before": "…", "at": "…", "kind": "answer", "of": 7, "verdict": "accepted", "calls": 1,
     "bytes": 311}

`before` is the SHA-256 of the line before, its line feed included: who changes or removes a line would have
to write every later one again. Calls that only wait for work are counted together: their `sending` has an
`until`, no `bytes` yet, and its answer says how many there were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

BEGINNING = "0" * 64
"""What stands before the first line."""

NO_ANSWER = "no answer"
"""Nobody knows whether it arrived."""

REFUSED = "refused"
"""The coordinator has answered that it does not take it."""

ANSWERED = "answered"
"""The coordinator has answered; there is no more to say of such a call."""


@dataclass(frozen=True)
class Sending:
    """What is about to leave.

    to: HOST:PORT; purpose, method: as purposes.py names them; bytes: none where it is not known yet;
    sha256: of an update's bytes; privacy: spent by it, none: nothing is accounted; until: of calls that are
    counted together, when their time is over (seconds since the Unix epoch).
    """

    to: str
    purpose: str
    method: str
    run: str = ""
    round: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    privacy: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Conclusion:
    """What became of the line `of`. calls: how many there were; bytes: that really went."""

    of: int
    verdict: str
    bytes: int
    calls: int = 1


@dataclass(frozen=True)
class LedgerLine:
    """One line of a ledger. at: seconds since the Unix epoch; sha256: of its bytes."""

    n: int
    before: str
    at: float
    what: Sending | Conclusion
    sha256: str


def written(n: int, before: str, at: float, what: Sending | Conclusion) -> bytes:
    """Return the bytes of a line, its line feed included."""
    kind = "sending" if isinstance(what, Sending) else "answer"
    said = {key: value for key, value in asdict(what).items() if key != "until"}
    if isinstance(what, Sending) and what.until is not None:
        said["until"] = _moment(what.until)
    values = {"n": n, "before": before, "at": _moment(at), "kind": kind, **said}
    return json.dumps(values, allow_nan=False).encode("ascii") + b"\n"


def read_line(content: bytes) -> LedgerLine:
    """Read a line, with its line feed. Raises ValueError for what is none."""
    values = json.loads(content)
    if not isinstance(values, dict) or not content.endswith(b"\n"):
        raise ValueError("not a line of a ledger")
    try:
        return LedgerLine(
            n=int(values["n"]),
            before=str(values["before"]),
            at=_seconds(values["at"]),
            what=_what(values),
            sha256=hash_of(content),
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a line of a ledger: {error}") from None


def hash_of(content: bytes) -> str:
    """Return the hex SHA-256 that the next line repeats."""
    return hashlib.sha256(content).hexdigest()


def _what(values: Mapping[str, Any]) -> Sending | Conclusion:
    kind = Sending if values["kind"] == "sending" else Conclusion
    said = {key: values[key] for key in kind.__dataclass_fields__ if key in values}
    if said.get("until") is not None:
        said["until"] = _seconds(said["until"])
    return kind(**said)


def _moment(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
