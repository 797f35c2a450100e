"""`antiphon client`: the daemon, and what the owner of a site asks beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from antiphon.cli.options import AsJson, Home

client_app = typer.Typer(help="The client of this machine: its daemon, and what it tells.")


@dataclass(frozen=True)
class SiteOptions:
    """Options that stand before the name of a command. config: client.yaml."""

    config: Path | None
    home: Path | None


@client_app.callback(invoke_without_command=True)
def client(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="client.yaml; default: in the home folder.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End after one run.")] = False,
    home: Home = None,
) -> None:
    """Run this machine's daemon: it trains when the coordinator asks and the owner allows."""
    from antiphon.core.home import keep_private

    keep_private()
    if context.invoked_subcommand is not None:
        context.obj = SiteOptions(config, home)
        return
    from antiphon.cli.client import run_client

    raise SystemExit(run_client(config, home, once=once))


@client_app.command()
def sent(
    context: typer.Context,
    run: Annotated[str | None, typer.Option("--run", help="Of this run only.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every line; code 1 where one is not as written.")
    ] = False,
    anchor: Annotated[
        str | None,
        typer.Option(
            "--anchor", metavar="N:SHA256", help="A line's hash that was noted elsewhere."
        ),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """List everything that has left this machine."""
    from antiphon.cli.sent import show_sent, verify_sent

    place = _home(context, home)
    if verify or anchor is not None:
        verify_sent(place, anchor, Console(), as_json=as_json)
    else:
        show_sent(place, run, Console(), as_json=as_json)


@client_app.command()
def status(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="client.yaml; default: in the home folder.")
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Say how this machine's client stands: daemon, runs, outbox, what left today."""
    from antiphon.cli.site_status import show_site

    given: SiteOptions = context.obj
    show_site(_home(context, home), config or given.config, Console(), as_json=as_json)


Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id, as the daemon's log names it.")
]


@client_app.command()
def approve(
    context: typer.Context,
    run: Run,
    config: Annotated[
        str | None,
        typer.Option("--config", help="How its config's digest begins, as `explain` showed it."),
    ] = None,
    home: Home = None,
) -> None:
    """Let this machine take part in a run, as its config is now."""
    from antiphon.cli.consent import decide_on

    decide_on(_home(context, home), run, "approved", config, Console(stderr=True))


@client_app.command()
def refuse(context: typer.Context, run: Run, home: Home = None) -> None:
    """Take no part in a run, whatever it asks for; one that is going on is left."""
    from antiphon.cli.consent import decide_on

    decide_on(_home(context, home), run, "refused", None, Console(stderr=True))


@client_app.command()
def explain(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The run's id; default: the newest.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="client.yaml; default: in the home folder.")
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show what a run would do here and tell of this machine; nothing is sent."""
    from antiphon.cli.explain import explain_run
    from antiphon.core.home import keep_private

    keep_private()
    given: SiteOptions = context.obj
    explain_run(_home(context, home), config or given.config, run, Console(), as_json=as_json)


def _home(context: typer.Context, home: Path | None) -> Path:
    """Return the site's half of the home folder, named before or after the command's name."""
    from antiphon.core.home import client_folder, home_folder

    given: SiteOptions = context.obj
    return client_folder(home_folder(home or given.home, os.environ))
