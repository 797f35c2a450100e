"""A task that cannot be done at this site."""

from __future__ import annotations

from antiphon.core.errors import AntiphonError
from antiphon.core.refusals import Refusal


class TaskFailed(AntiphonError):
    """The task cannot be done here; the message is for the log, the code is for the coordinator."""

    def __init__(self, text: str, code: Refusal = Refusal.TRAINER_FAILED) -> None:
        """text: with paths and a library's own words, perhaps: it stays here."""
        super().__init__(text)
        self.code = code
