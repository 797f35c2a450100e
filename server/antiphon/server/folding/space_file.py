"""A space as a file: space.json of a run's folder, or what `antiphon check --space` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from antiphon.core.config import RunConfig
from antiphon.core.errors import RunFolderError
from antiphon.core.files import write_text
from antiphon.core.json_text import json_text
from antiphon.core.run_folder import read_bytes
from antiphon.core.space import Shape, SpaceShapes
from antiphon.server.folding.possible_space import ImpossibleSpace, check_possible

_MOST_SAID = 200


def write_space(file: Path, space: SpaceShapes) -> None:
    """Write the space, whole or not at all."""
    write_text(file, json_text(asdict(space), indent=1) + "\n")


def read_space(file: Path, config: RunConfig) -> SpaceShapes:
    """Return the space in a file. Raises RunFolderError where it is damaged, or not one of this config."""
    try:
        space = _space(json.loads(read_bytes(file)))
        check_possible(space, config)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unusable(file, f"is damaged ({str(error)[:_MOST_SAID]})") from None
    except ImpossibleSpace as error:
        raise _unusable(file, f"is not of this run ({error})") from None
    return space


def _unusable(file: Path, what: str) -> RunFolderError:
    return RunFolderError(
        f"{file} {what}: restore it, write it again with `antiphon check RUN.yaml --space FILE`, or "
        "start a new run"
    )


def _space(values: dict[str, Any]) -> SpaceShapes:
    shapes = {
        kind: {name: _shape(sides) for name, sides in values[kind].items()}
        for kind in ("factors", "weights")
    }
    space = SpaceShapes(**{**values, **shapes})
    told = {"base_model": str, "model_parameters": int, "model_digest": str}
    for name, kind in told.items():
        if type(getattr(space, name)) is not kind:
            raise ValueError(f"{name} is {str(getattr(space, name))[:80]!r}")
    return space


def _shape(sides: Sequence[Any]) -> Shape:
    rows, columns = sides
    if not type(rows) is type(columns) is int:
        raise ValueError(f"{str(sides)[:80]} is no shape")
    return rows, columns
