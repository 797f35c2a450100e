"""The `antiphon` command.

Errors that the user can mend are printed without a traceback and end with code 2; a run that
stopped before its last round ends with 1, one that its policy ended with 0; an interrupted simulation
ends with 130, an interrupted coordinator with 0, and both say how to go on. `--json` prints exactly one
JSON object as the last line of stdout; progress goes to stderr.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from antiphon.cli.options import AsJson, FromRound, Home, Resume, with_resume
from antiphon.cli.site import client_app
from antiphon.core.errors import UserError
from antiphon.core.json_text import json_text

# torch's threads spin while they wait for each other; beside another busy process that makes a step ten
# times slower (docs/benchmarks.md). It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# gRPC's C core writes lines of its own beside our log, one for each connection that is no client's. It must
# be told before grpc is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

app = typer.Typer(
    help="Federated fine-tuning of language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_err = Console(stderr=True)
_CLIENT_LIBRARIES = ("torch", "transformers", "peft", "jinja2", "gguf", "huggingface_hub")
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)

ca_app = typer.Typer(help="The fleet's root of trust.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens that let machines join the fleet.", no_args_is_help=True)
clients_app = typer.Typer(help="The clients of the fleet.", no_args_is_help=True)
fleet_app = typer.Typer(help="Fleets of simulated clients.", no_args_is_help=True)
flower_app = typer.Typer(help="Runs on Flower.", no_args_is_help=True)
for _name, _group in (
    ("ca", ca_app),
    ("token", token_app),
    ("clients", clients_app),
    ("fleet", fleet_app),
    ("flower", flower_app),
):
    app.add_typer(_group, name=_name)
app.add_typer(client_app, name="client")

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run's config.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides: rounds=3 lora.r=4")
]


@app.command()
def simulate(
    run: RunFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    resume: Resume = False,
    from_round: FromRound = None,
) -> None:
    """Run a config here, every client in this process."""
    from antiphon.cli.simulate import run_simulation
    from antiphon.core.home import keep_private

    keep_private()
    report = run_simulation(
        run,
        overrides or [],
        resume=resume,
        from_round=with_resume(from_round, resume),
        console=_err,
    )
    if as_json:
        sys.stdout.write(json_text(report) + "\n")
    if not report["complete"]:
        raise SystemExit(1)


@app.command()
def check(
    run: RunFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="File to write what the run trains to, for `antiphon serve`."),
    ] = None,
    no_data: Annotated[
        bool, typer.Option("--no-data", help="Leave the rows out: they lie with the clients.")
    ] = False,
) -> None:
    """Validate a config, read its rows, print it resolved, and estimate bytes and memory."""
    from antiphon.cli.check import check_config

    check_config(
        run, overrides or [], as_json=as_json, with_data=not no_data, space_file=space, console=_err
    )


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="What to bring into the cache.")]) -> None:
    """Bring a model or a data set into the cache."""
    from antiphon.client.assets.fetch import fetch as bring

    path = bring(name, lambda message: _err.print(escape(message)))
    sys.stdout.write(f"{path}\n")


@app.command()
def strategies(as_json: AsJson = False) -> None:
    """List everything that a config can name, with its arguments."""
    from antiphon.cli.strategies import list_strategies

    list_strategies(as_json=as_json, console=_err)


@app.command()
def schema() -> None:
    """Print the JSON schema of a run's YAML, for editors."""
    from antiphon.core.config import json_schema

    sys.stdout.write(json_text(json_schema(), indent=2) + "\n")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist.")],
    round_number: Annotated[
        int | None, typer.Option("--round", help="The model after this round; default: the last.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the whole model with the adapter merged in.")
    ] = False,
) -> None:
    """Write a run's adapter, or the merged model, to a folder of its own."""
    from antiphon.cli.export import export_run

    export_run(run, round_number, out, merge=merge, console=_err)
    _err.print(f"written: {escape(str(out))}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Make a run's report and pictures again, from its journal."""
    from antiphon.cli.report import make_report
    from antiphon.core.home import keep_private

    keep_private()
    made = make_report(run, _err)
    if as_json:
        sys.stdout.write(json_text(made) + "\n")


@app.command()
def split(
    run: RunFile,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist.")],
    overrides: Overrides = None,
) -> None:
    """Write each client's rows to a file, for the machines of a real run."""
    from antiphon.cli.split import split_run
    from antiphon.core.home import keep_private

    keep_private()
    split_run(run, overrides or [], out, _err)


@ca_app.command("init")
def ca_init(
    fleet: Annotated[str, typer.Option("--fleet", help="Name of the fleet: a-z, 0-9, - and _.")],
    home: Home = None,
) -> None:
    """Make the fleet's root and print its pin."""
    from antiphon.cli.ca import init_authority
    from antiphon.core.home import keep_private

    keep_private()
    init_authority(fleet, home, _err)


@ca_app.command("new-ledger")
def ca_new_ledger(home: Home = None) -> None:
    """Begin an empty ledger where the fleet's own is lost: every client must join anew."""
    from antiphon.cli.ca import new_ledger
    from antiphon.core.home import keep_private

    keep_private()
    new_ledger(home, _err)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Option("--name", help="Name of the client that may join.")],
    uses: Annotated[
        int, typer.Option("--uses", min=1, help="Machines that may use it: NAME-1, NAME-2, ….")
    ] = 1,
    ttl: Annotated[
        str, typer.Option("--ttl", help="Life of the token: 90s, 30m, 24h, 7d; a year at most.")
    ] = "24h",
    address: Annotated[
        str, typer.Option("--address", help="HOST:PORT where the client reaches enrolment.")
    ] = "HOST:8471",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="New file for the token (0600); the line names it instead."),
    ] = None,
    home: Home = None,
) -> None:
    """Print the line that a machine joins the fleet with."""
    from antiphon.cli.clients import create_token
    from antiphon.core.home import keep_private

    keep_private()
    create_token(name, uses, ttl, address, out, home, _err)


@clients_app.command("list")
def clients_list(as_json: AsJson = False, home: Home = None) -> None:
    """List who is in the fleet."""
    from antiphon.cli.clients import list_clients

    list_clients(home, Console(), as_json=as_json)


@clients_app.command("revoke")
def clients_revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The client.")], home: Home = None
) -> None:
    """Refuse a client from now on; calls that it has open are cut off."""
    from antiphon.cli.clients import revoke_client
    from antiphon.core.home import keep_private

    keep_private()
    revoke_client(name, home, _err)


@fleet_app.command("new")
def fleet_new(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="campus, hospitals, phones or robots.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.yaml", help="File to write.")],
    clients: Annotated[int, typer.Option("--clients", min=1, help="How many there are.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another fleet.")] = 0,
) -> None:
    """Draw a fleet for engine.fleet."""
    from antiphon.cli.fleet import new_fleet

    new_fleet(kind, clients, seed, out, _err)


@fleet_app.command("record")
def fleet_record(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.yaml", help="File to write.")],
) -> None:
    """Write the fleet that a run has met: rates, failures and times on line of its clients."""
    from antiphon.cli.fleet import record_fleet

    record_fleet(run, out, _err)


@fleet_app.command("show")
def fleet_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fleet file.")],
) -> None:
    """Tabulate a fleet file."""
    from antiphon.cli.fleet import show_fleet

    show_fleet(file, Console())


@flower_app.command("new")
def flower_new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder; it must not exist.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The run's config; default: a run of the tiny model."),
    ] = None,
) -> None:
    """Write a run as an app that `flwr run` takes to a SuperLink."""
    from antiphon.cli.flower import new_app

    new_app(folder, config, _err)


@app.command()
def serve(
    run: RunFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    resume: Resume = False,
    from_round: FromRound = None,
    resume_or_start: Annotated[
        bool,
        typer.Option(
            "--resume-or-start",
            help="As --resume, but start the run where there is none, and end at once where it is "
            "complete: for systemd and containers.",
        ),
    ] = False,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML with the coordinator's settings.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="HOST:PORT for enrolled clients.")
    ] = None,
    enrolment: Annotated[
        str | None, typer.Option("--enrolment", help="HOST:PORT for machines that join; none: off.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="HOST:PORT of /metrics, /healthz, /status; none: off."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space",
            exists=True,
            dir_okay=False,
            help="What the run trains, as `antiphon check --space` writes it; else the clients say it.",
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Coordinate a run whose clients are daemons on other machines."""
    from antiphon.cli.serve import serve_run
    from antiphon.core.home import keep_private

    keep_private()
    given = {"listen": listen, "enrolment": enrolment, "metrics": metrics}
    report = serve_run(
        run,
        overrides or [],
        home=home,
        settings_file=settings,
        space_file=space,
        changes={name: value for name, value in given.items() if value is not None},
        from_round=with_resume(from_round, resume),
        beginning="either" if resume_or_start else "resumed" if resume else "new",
        console=_err,
    )
    if as_json:
        sys.stdout.write(json_text(report) + "\n")
    if not report["complete"] and not report.get("stopped"):
        raise SystemExit(1)


@app.command()
def join(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="The coordinator's enrolment address.")
    ],
    ca: Annotated[str, typer.Option("--ca", help="The fleet's pin, sha256:….")],
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="ANTIPHON_JOIN_TOKEN",
            help="As `antiphon token create` printed it; `-`: from standard input. Other users of this "
            "machine can see arguments.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File that holds the token and nothing else."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace this machine's identity.")
    ] = False,
    home: Home = None,
) -> None:
    """Make this machine a client of a fleet (once)."""
    from antiphon.cli.join import join_fleet
    from antiphon.core.home import keep_private

    keep_private()
    join_fleet(address, token, token_file, ca, home, _err, force=force)


@app.command()
def status(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run's folder; default: the one at work."),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Say where a run stands, why it waits, and who is there."""
    from antiphon.cli.status import show_status

    show_status(run, Console(), as_json=as_json, home=home)


@app.command()
def dashboard(
    runs: Annotated[Path, typer.Option("--runs", help="The folder of run folders.")] = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Where to listen.")] = 8501,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; there is no password.")
    ] = "127.0.0.1",
    home: Home = None,
) -> None:
    """Show the runs of a folder in the browser, live."""
    from antiphon.cli.dashboard import show_dashboard

    show_dashboard(runs, home, host, port, _err)


def main() -> None:
    """Run the command line; the exit code tells whose fault a failure is."""
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _CLIENT_LIBRARIES:
            raise
        _fail(f"this command needs {error.name}: pip install 'antiphon[client]'")
    except OSError as error:
        if error.errno not in _NOT_ALLOWED:
            raise
        _fail(f"{error.filename}: {error.strerror}. Check its permissions, or choose another place")


def _fail(message: str) -> NoReturn:
    _err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise SystemExit(2) from None


if __name__ == "__main__":
    main()
