"""`antiphon client explain`: what a run would do here, and tell of it. Nothing is sent or fetched."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from antiphon.cli.terminal import harmless
from antiphon.client.daemon.consent import Consent
from antiphon.client.daemon.data_view import missing
from antiphon.client.daemon.identity import load
from antiphon.client.daemon.known_runs import KnownRun, KnownRuns
from antiphon.client.daemon.learned import learned
from antiphon.client.daemon.open_run import Declined, OpenRun
from antiphon.client.daemon.outbox import look_into
from antiphon.client.daemon.policy import permits
from antiphon.client.daemon.preparing import prepare_request
from antiphon.client.daemon.settings import ClientSettings, load_settings
from antiphon.client.daemon.settled_configs import SettledConfigs
from antiphon.client.daemon.site_models import unnamed
from antiphon.client.daemon.work import told_works
from antiphon.client.reason import Reason
from antiphon.client.trainer_protocol import Prepare
from antiphon.core.errors import UserError
from antiphon.core.identity import IdentityError
from antiphon.core.json_text import json_text


def explain_run(
    client: Path, settings_file: Path | None, run_id: str | None, console: Console, *, as_json: bool
) -> None:
    """Print what a run would do. client: `client/` of the home folder; run_id: none: the newest.

    Raises UserError where the run is not known, ConfigError for a wrong client.yaml.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported
    known = KnownRuns(client).named(run_id)
    settings = load_settings(settings_file or client / "client.yaml")
    told = explained(client, known, settings, datetime.now())
    if as_json:
        sys.stdout.write(json_text(told) + "\n")
        return
    for line in said(told):
        console.print(harmless(line), highlight=False, soft_wrap=True)


def explained(
    client: Path, known: KnownRun, settings: ClientSettings, now: datetime
) -> dict[str, Any]:
    """Return what a run would do, as plain values."""
    try:
        run = known.opened()
    except Declined as declined:
        raise UserError(str(declined)) from None
    request, view = prepare_request(_name(client), run, settings)
    dry = dry_run(request)
    costs: Mapping[str, int] = dry["costs"] or {}
    rows: Mapping[str, Any] = dry["rows"] or {}
    rounds = run.config.get("rounds")
    works = told_works(dry["work"]) or run.works
    run = replace(run, examples=rows.get("train"), works=works)
    reasons = against(client, run, settings, now, costs.get("bytes_up", 0))
    return {
        "run": run.run_id,
        "digest": known.digest,
        "standing": known.standing,
        "seen_at": known.seen_at,
        "model": run.model,
        "method": run.method,
        "steps": run.steps,
        "rounds": rounds,
        "min_cohort": run.min_cohort,
        "config": {key: run.config.get(key) for key in dry["sections"]},
        "data": view.lines(),
        **dry,
        "bytes": _in_all(costs, rounds) if costs else None,
        "learns": learned(
            settings.tell,
            dry["sends"],
            rows.get("train"),
            rows.get("evaluation"),
            costs.get("bytes_up"),
            dry["before"],
        ),
        "declines": [{"code": each.code, "reason": each.text} for each in reasons],
    }


def against(
    client: Path, run: OpenRun, settings: ClientSettings, now: datetime, bytes_up: int
) -> tuple[Reason, ...]:
    """Return every reason for which this site would take no part now."""
    today = look_into(client / "outbox", now.date().isoformat()).sent
    terms = replace(run.terms(uploaded_today=today), upload_bytes=bytes_up)
    return (
        *permits(settings.policy, terms, now),
        *SettledConfigs(client).differs(run),
        *Consent(client, lambda: settings.policy).missing(run),
        *unnamed(settings.models, run.model),
        *missing(settings.data, run.config.get("data")),
    )


def dry_run(request: Prepare) -> dict[str, Any]:
    """Return what the rows and the model say: `rows` and `costs`, each none where it failed, with why;
    `work`, of a round by role; `sends`, what updates are; `before`, what is sent before
    the first training; `sections`, of the config that the method reads.
    """
    from antiphon.client.dry_run import look_at_costs, look_at_rows
    from antiphon.client.site_config import site_config
    from antiphon.strategies.methods.method import method_of

    told: dict[str, Any] = {"rows": None, "costs": None, "problems": []}
    told |= {"work": {}, "sends": (), "sections": (), "before": ""}
    try:
        config = site_config(request)
    except UserError as error:
        return {**told, "problems": [str(error)]}
    method = method_of(config)
    sends = tuple(dict.fromkeys(each.form.says for each in method.roles))
    told |= {"work": method.work, "sends": sends, "sections": method.sections}
    told["before"] = method.space.frames.says
    held_out_said = request.data.get("eval_examples") is not None
    looks: dict[str, Callable[[], Any]] = {
        "rows": lambda: look_at_rows(config, request.client, held_out_said=held_out_said),
        "costs": lambda: look_at_costs(config),
    }
    for what, look in looks.items():
        try:
            told[what] = asdict(look())
        except UserError as error:
            told["problems"].append(str(error))
    return told


def said(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for a person."""
    seen = f"{datetime.fromtimestamp(told['seen_at']):%Y-%m-%d %H:%M}"
    yield f"{told['run']}, config {told['digest'][:12]}: {told['standing']}, asked for last at {seen}"
    yield f"model       {told['model']}"
    yield f"method      {told['method']}, {told['steps']} steps in a round, {told['rounds']} rounds"
    yield f"cohort      {told['min_cohort']} clients in a round at least"
    yield f"bytes       {_bytes(told)}"
    for section, values in told["config"].items():
        yield f"{section:11} {json_text(values)}"
    yield ""
    yield "How the rows of this machine are read:"
    for key, value in told["data"].items():
        yield f"  {key}: {value}"
    if told["rows"] is not None:
        yield f"  {_rows(told['rows'])}"
        for sentence in told["rows"]["advice"]:
            yield f"  {sentence}"
    for problem in told["problems"]:
        yield f"  it would fail: {problem}"
    yield ""
    yield "What the coordinator would learn:"
    for when, what in told["learns"]:
        yield f"  {when}: {what}"
    yield ""
    yield "Why this site would take no part:" if told["declines"] else "Nothing speaks against it."
    for each in told["declines"]:
        yield f"  {each['code']}: {each['reason']}"
    yield ""
    yield (
        f"`antiphon client approve {shlex.quote(told['run'])} --config {told['digest'][:12]}` lets it "
        "as it is shown here"
    )


def _bytes(told: Mapping[str, Any]) -> str:
    costs, whole = told["costs"], told["bytes"]
    if costs is None:
        return "not known: the model is not on this machine, or does not fit the run"
    once = f"about {costs['bytes_up']} up, at most {costs['bytes_down']} down in a round"
    return f"{once}; in all rounds about {whole['up']} up, at most {whole['down']} down"


def _rows(rows: Mapping[str, Any]) -> str:
    cut = "" if rows["cut"] is None else f", {rows['cut']} of them too long and cut"
    return (
        f"{rows['read']} rows read, {rows['skipped']} broken and skipped, {rows['left_out']} left out; "
        f"{rows['train']} to train on{cut}, {rows['evaluation']} held out"
    )


def _in_all(costs: Mapping[str, int], rounds: object) -> dict[str, int]:
    """Return the bytes of a client that is chosen in every round, and measures after each."""
    turns = rounds if isinstance(rounds, int) else 1
    return {"up": turns * costs["bytes_up"], "down": 2 * turns * costs["bytes_down"]}


def _name(client: Path) -> str:
    try:
        return load(client / "identity").client
    except IdentityError:
        return "client"
