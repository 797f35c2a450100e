"""Why something is not done at a site: a code, which may leave it, and words, which never do."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.core.refusals import Refusal


@dataclass(frozen=True)
class Reason:
    """code: for the coordinator; text: for the site's own log, with values, paths and names in it."""

    code: Refusal
    text: str
