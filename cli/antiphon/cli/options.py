"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None,
    typer.Option("--home", help="State folder; default: $ANTIPHON_HOME or ~/.antiphon."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
