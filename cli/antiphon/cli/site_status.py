"""`antiphon client status`: how this site stands, from its own home folder. Nothing is sent."""

from __future__ import annotations

import fcntl
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from antiphon.cli.terminal import harmless
from antiphon.client.daemon.consent import read_decisions
from antiphon.client.daemon.contact import last_contact
from antiphon.client.daemon.identity import load
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.daemon.outbox import look_into
from antiphon.client.daemon.settings import load_settings
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.reading import NOT_COUNTED, left, lines
from antiphon.core.errors import ConfigError, UserError
from antiphon.core.identity import IdentityError
from antiphon.core.json_text import json_text

_TIMEOUT_S = 2.0
_TASKS = re.compile(r'^antiphon_client_tasks_total\{kind="(\w+)",result="(\w+)"\} ([\d.]+)', re.M)


def show_site(client: Path, settings_file: Path | None, console: Console, *, as_json: bool) -> None:
    """Print how a site stands. client: `client/` of the home folder."""
    told = standing(client, settings_file or client / "client.yaml", datetime.now())
    if as_json:
        sys.stdout.write(json_text(told) + "\n")
        return
    for line in said(told):
        console.print(harmless(line), highlight=False, soft_wrap=True)


def standing(client: Path, settings_file: Path, now: datetime) -> dict[str, Any]:
    """Return how a site stands, as plain values; what cannot be read is in `problems`."""
    problems: list[str] = []
    told: dict[str, Any] = {"daemon": daemon_pid(client), "last_contact": last_contact(client)}
    for part in (_identity, _runs, _outbox, _sent):
        try:
            told |= part(client, now)
        except UserError as error:
            problems.append(str(error))
    if told["daemon"] is not None:
        told |= _tasks(settings_file)
    return {**told, "problems": problems}


def daemon_pid(client: Path) -> int | None:
    """Return the process of the daemon that is at work here; none: there is none."""
    try:
        with (client / "daemon.lock").open() as file:
            try:
                # Shared, and for a moment only: a daemon that starts just now would find it free.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read())
    except (OSError, ValueError):
        pass
    return None


def said(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for a person."""
    who = f"{told['client']} of the fleet {told['fleet']}, " if "client" in told else ""
    pid, contact = told["daemon"], told["last_contact"]
    yield f"{who}{'no daemon is at work' if pid is None else f'its daemon is at work (process {pid})'}"
    if "coordinator" in told:
        until = _time(told["certificate_until"])
        yield f"coordinator   {told['coordinator']}, certificate until {until}"
    yield f"last contact  {'none yet' if contact is None else _time(contact)}"
    for run in told.get("runs", ()):
        why = f" ({', '.join(run['reasons'])})" if run["reasons"] else ""
        decided = f", {run['decided']} by the owner" if run["decided"] else ""
        yield f"run           {run['run']}: {run['standing']}{why}{decided}, {_time(run['seen_at'])}"
    if "outbox" in told:
        size = sum(each["bytes"] for each in told["outbox"])
        yield f"outbox        {len(told['outbox'])} updates wait, {size} bytes"
    if "sent_today" in told:
        parts = [f"{each['messages']} × {name}, {each['bytes']} bytes"
                 for name, each in told["sent_today"].items()]  # fmt: skip
        yield f"left today    {'; '.join(parts) or 'nothing'}"
    if told.get("tasks"):
        yield f"tasks         {', '.join(f'{n} {name}' for name, n in told['tasks'].items())}"
    for problem in told["problems"]:
        yield f"problem       {problem}"


def _identity(client: Path, now: datetime) -> dict[str, Any]:
    try:
        mine = load(client / "identity")
    except IdentityError as error:
        raise UserError(str(error)) from None
    return {
        "client": mine.client,
        "fleet": mine.fleet,
        "coordinator": mine.coordinator,
        "certificate_until": mine.expires_at,
    }


def _runs(client: Path, now: datetime) -> dict[str, Any]:
    known, decisions = KnownRuns(client).all(), read_decisions(client)
    return {
        "runs": [
            {
                "run": each.run_id,
                "digest": each.digest,
                "standing": each.standing,
                "reasons": list(each.reasons),
                "seen_at": each.seen_at,
                "decided": decisions[each.run_id].verdict if each.run_id in decisions else None,
            }
            for each in known
        ]
    }


def _outbox(client: Path, now: datetime) -> dict[str, Any]:
    waiting = look_into(client / "outbox", now.date().isoformat()).updates
    return {
        "outbox": [{"run": run, "round": number, "bytes": size} for run, number, size in waiting]
    }


def _sent(client: Path, now: datetime) -> dict[str, Any]:
    if not sent_folder(client).exists():
        return {"sent_today": {}}
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    messages: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for each in left(lines(sent_folder(client), midnight)):
        if each.at >= midnight:
            name = each.what.purpose + (f" ({NOT_COUNTED})" if each.calls is None else "")
            messages[name] += 1 if each.calls is None else each.calls
            size[name] += each.bytes
    return {
        "sent_today": {
            name: {"messages": count, "bytes": size[name]} for name, count in messages.items()
        }
    }


def _tasks(settings_file: Path) -> dict[str, Any]:
    """Return what the daemon has counted, where it serves its metrics on this machine."""
    try:
        address = load_settings(settings_file).metrics
        if address is None:
            return {}
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{address}/metrics", timeout=_TIMEOUT_S) as answer:
            text = answer.read().decode("utf-8", "replace")
    except (ConfigError, OSError, ValueError):
        return {}
    found = _TASKS.findall(text)
    return {"tasks": {f"{kind} {result}": int(float(count)) for kind, result, count in found}}


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
