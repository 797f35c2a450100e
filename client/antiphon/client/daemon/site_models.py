"""Which base model a run's name stands for at this site: a known name, a hub id, or the owner's folder.

A run's name is never looked for as a path: whether a folder is there would be told by whether the site can
take part. Folders are named by the owner, in `models` of client.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from antiphon.client.reason import Reason
from antiphon.core.refusals import Refusal

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})?")


def unnamed(models: Mapping[str, str], name: str) -> tuple[Reason, ...]:
    """Return why the site has no model of this name; none: it may have. models: `models` of client.yaml."""
    if name in models or _NAME.fullmatch(name):
        return ()
    return (
        Reason(
            Refusal.MODEL,
            f"the run's model is {name[:200]!r}, a path: a site takes known names, hub ids, and the "
            "folders that `models` of client.yaml names (`models: {NAME: FOLDER}`)",
        ),
    )


def model_here(models: Mapping[str, str], name: str) -> str:
    """Return what the trainer loads for a run's model: the owner's folder, or the name as it is."""
    return models.get(name, name)
