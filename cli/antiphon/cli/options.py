"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.core.errors import UserError

Home = Annotated[
    Path | None,
    typer.Option("--home", help="State folder; default: $ANTIPHON_HOME or ~/.antiphon."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the newest run of this name.")]
FromRound = Annotated[
    int | None,
    typer.Option(
        "--from-round",
        min=0,
        help="With --resume, where the newest state is damaged: go on from the model after this round.",
    ),
]


def with_resume(from_round: int | None, resume: bool) -> int | None:
    """Return the round to go on from. Raises UserError where no run is to be resumed."""
    if from_round is not None and not resume:
        raise UserError("--from-round goes with --resume: a new run has no round to go on from")
    return from_round
