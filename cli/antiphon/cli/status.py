"""`antiphon status`: where a run stands, why it waits, and who is there."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from antiphon.core.errors import RunFolderError
from antiphon.core.events import ClientDescribed, RunDescribed
from antiphon.core.home import fleet_folder, home_folder
from antiphon.core.journal import Entry, Journal, writer_is_alive
from antiphon.core.json_text import json_text
from antiphon.core.run_folder import RunFolder
from antiphon.core.types import Plain
from antiphon.server.enrolment.occupancy import run_at_work
from antiphon.server.machine.round import replay
from antiphon.server.machine.run_state import RunState
from antiphon.server.machine.standing import Declines, rows, standings
from antiphon.server.machine.waiting import why_waiting

_TIMEOUT_S = 3.0
_RESUMED = {
    "grpc": "`antiphon serve RUN.yaml --resume`",
    "simulation": "`antiphon simulate RUN.yaml --resume`",
    "flower": "`flwr run` with --run-config 'resume=true'",
}
_AT_WORK = "at work, but it serves no status"  # a simulation, or a coordinator without `metrics`


_APART = {"declined": "declines", "revoked": "is revoked", "benched": "is benched"}


def show_status(
    run: Path | None, console: Console, *, as_json: bool, home: Path | None = None
) -> None:
    """Print the status of a run. Raises RunFolderError.

    run: none: of the run that a coordinator is at work on, in `runs` or for the fleet in `home`, each in
    a line where there are several; where there is none, of the newest in `runs`.
    """
    found = _live(Path("runs"), home) if run is None else []
    if len(found) > 1:
        _show_many(found, console, as_json=as_json)
        return
    folder = RunFolder(run) if run is not None else None if found else _newest(Path("runs"))
    status = found[0] if folder is None else _asked(folder) or _from_journal(folder)
    if as_json:
        sys.stdout.write(json_text(status) + "\n")
        return
    rounds = f"round {status['round']} of {status.get('rounds') or '?'}"
    where = "live" if status["live"] else status["standing"]
    console.print(f"[bold]{escape(status['run_id'])}[/]: {status['phase']}, {rounds} ({where})")
    console.print(escape(str(status["why"])), highlight=False, soft_wrap=True)
    if status["clients"]:
        console.print(_table(status["clients"]))
    for each in status.get("apart", ()):
        until = each["until_round"]
        what = f"is benched until round {until}" if until else _APART[each["what"]]
        told = f"{each['name']} {what}: {each['reason']}"
        console.print(escape(told), highlight=False, soft_wrap=True)


def _live(runs: Path, home: Path | None) -> list[dict[str, Any]]:
    """Return the statuses of the runs whose coordinator answers, by name."""
    folders = {file.parent.resolve() for file in runs.glob("*/live.json")}
    of_home = run_at_work(fleet_folder(home_folder(home, os.environ)))
    folders |= set() if of_home is None else {of_home}
    asked = ((path, _asked(RunFolder(path))) for path in sorted(folders))
    return [{**status, "run_dir": str(path)} for path, status in asked if status is not None]


def _show_many(found: list[dict[str, Any]], console: Console, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json_text({"runs": found}) + "\n")
        return
    for each in found:
        where = f"{each['phase']}, round {each['round']} of {each.get('rounds') or '?'}"
        told = f"{each['run_dir']}: {where}: {each['why']}"
        console.print(escape(told), highlight=False, soft_wrap=True)


def _newest(runs: Path) -> RunFolder:
    found = [file.parent for file in runs.glob("*/journal.sqlite")]
    if not found:
        raise RunFolderError(f"no run in {runs.resolve()}: give the folder of a run")
    return RunFolder(max(found, key=lambda each: (each / "journal.sqlite").stat().st_mtime))


def _asked(folder: RunFolder) -> dict[str, Any] | None:
    """Ask the coordinator itself; none: it is not running, or serves no status."""
    try:
        address = json.loads(folder.live_file.read_text())["status"]
        with urllib.request.urlopen(f"http://{address}/status", timeout=_TIMEOUT_S) as answer:
            status: dict[str, Any] = json.load(answer)
    except (OSError, ValueError, KeyError, urllib.error.URLError):
        return None
    return {**status, "live": True} if status.get("run_id") == folder.run_id() else None


def _from_journal(folder: RunFolder) -> dict[str, Any]:
    with Journal.reading(folder.journal_file) as journal:
        entries = list(journal.read())
    machine = replay((entry.event, entry.at_s) for entry in entries)
    told = (entry.event for entry in entries if isinstance(entry.event, ClientDescribed))
    facts = {event.client: dict(event.facts) for event in told}
    standing, how = _standing(folder, machine, entries)
    why = why_waiting(machine, time.time(), at_work=standing == _AT_WORK)
    return {
        "run_id": folder.run_id(),
        "phase": machine.phase,
        "round": machine.round,
        "rounds": machine.run.rounds if entries else folder.config_values().get("rounds"),
        "why": f"{why}; {how}" if how else why,
        "clients": [
            _client(machine, name, facts, known=standing == _AT_WORK)
            for name in sorted(machine.clients)
        ],
        "apart": rows(standings(machine, _declined(entries))),
        "live": False,
        "standing": standing,
    }


def _declined(entries: list[Entry]) -> dict[str, str]:
    declines = Declines()
    for entry in entries:
        declines.hear(entry.event)
    return declines.reasons


def _standing(folder: RunFolder, machine: RunState, entries: list[Entry]) -> tuple[str, str]:
    """Return whether anything is at work on a run that answers nothing, and else how it goes on."""
    if machine.phase in ("complete", "stopped"):
        return "over", ""
    if writer_is_alive(folder.journal_file):
        return _AT_WORK, ""
    described = [entry.event for entry in entries if isinstance(entry.event, RunDescribed)]
    engines = [event.facts["engine"] for event in described if "engine" in event.facts]
    command = _RESUMED.get(str(engines[-1]) if engines else "", _RESUMED["grpc"])
    return "interrupted", f"nothing is at work on it on this machine: {command} goes on"


def _client(
    machine: RunState, name: str, facts: Mapping[str, Mapping[str, Plain]], *, known: bool
) -> Mapping[str, Any]:
    member, slot = machine.clients[name], (machine.carried.get(name) or machine.cohort.get(name))
    return {
        "name": name,
        "present": member.present if known else None,
        "examples": member.examples,
        "in_round": slot.status if slot else None,
        "facts": facts.get(name, {}),
    }


def _table(clients: list[Mapping[str, Any]]) -> Table:
    table = Table("client", "there", "last call", "examples", "this round", "doing", "device")
    for each in clients:
        silent, facts = each.get("silent_s"), each.get("facts", {})
        steps = each.get("steps_done")
        doing = f"round {each['working_on']}, step {steps}" if each.get("working_on") else ""
        table.add_row(
            escape(each["name"]),
            {True: "yes", False: "no"}.get(each["present"], ""),
            "" if silent is None else f"{silent:.0f} s ago",
            str(each["examples"]),
            each["in_round"] or "",
            doing,
            escape(str(facts.get("device_name") or facts.get("device") or "")),
        )
    return table
