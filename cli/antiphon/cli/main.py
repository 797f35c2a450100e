"""The `antiphon` command.

Errors that the user can mend are printed without a traceback and end with code 2; a run that stopped
before its last round ends with 1; an interrupted one ends with 130 and says how to go on. `--json` prints
exactly one JSON object as the last line of stdout; progress goes to stderr.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from antiphon.core.errors import UserError

# torch's threads spin while they wait for each other; beside another busy process that makes a step ten
# times slower (docs/benchmarks.md). It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Federated fine-tuning of language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_err = Console(stderr=True)
_CLIENT_LIBRARIES = ("torch", "transformers", "peft", "jinja2", "gguf", "huggingface_hub")
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run's config.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides: rounds=3 lora.r=4")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


@app.command()
def simulate(
    run: RunFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest run of this name.")
    ] = False,
) -> None:
    """Run a config here, every client in this process."""
    from antiphon.cli.simulate import run_simulation

    report = run_simulation(run, overrides or [], resume=resume, console=_err)
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
    if not report["complete"]:
        raise SystemExit(1)


@app.command()
def check(run: RunFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Validate a config, print it resolved, and estimate bytes and memory."""
    from antiphon.cli.check import check_config

    check_config(run, overrides or [], as_json=as_json, console=_err)


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

    list_strategies(as_json=as_json)


@app.command()
def schema() -> None:
    """Print the JSON schema of a run's YAML, for editors."""
    from antiphon.core.config import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


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

    export_run(run, round_number, out, merge=merge)
    _err.print(f"written: {escape(str(out))}")


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
