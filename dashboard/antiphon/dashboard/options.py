"""What `antiphon dashboard` tells the page: where the runs and the fleet are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.home import home_folder


@dataclass(frozen=True)
class Options:
    """runs: the folder of run folders; home: where the fleet is, if there is one."""

    runs: Path
    home: Path


def parsed(arguments: Sequence[str]) -> Options:
    """Return the options of a command line: --runs DIR, --home DIR."""
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--home", type=Path)
    given = parser.parse_args(arguments)
    return Options(given.runs.resolve(), home_folder(given.home, os.environ))


def arguments_of(runs: Path, home: Path | None) -> list[str]:
    """Return the arguments that `parsed` reads."""
    return ["--runs", str(runs), *(["--home", str(home)] if home is not None else [])]
