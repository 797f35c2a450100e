"""Which code a coordinator hears where the trainer fails; the words of the failure stay at the site."""

from __future__ import annotations

import errno
from typing import Final

from antiphon.core.errors import (
    ConfigError,
    DataError,
    DeviceError,
    DownloadError,
    ModelError,
    RowError,
    RunFolderError,
    TooFewRowsError,
    UpdateError,
)
from antiphon.core.refusals import Refusal, is_owners_word

_CODES: Final[tuple[tuple[type[BaseException], Refusal], ...]] = (
    (RowError, Refusal.DATA_ROW),
    (TooFewRowsError, Refusal.DATA_TOO_FEW),
    (DataError, Refusal.DATA_UNREADABLE),
    (DeviceError, Refusal.DEVICE),
    (ModelError, Refusal.MODEL_UNAVAILABLE),
    (DownloadError, Refusal.MODEL_UNAVAILABLE),
    (ConfigError, Refusal.CONFIG_UNKNOWN),
    (RunFolderError, Refusal.DISK),
    (UpdateError, Refusal.TASK_UNREADABLE),
    (MemoryError, Refusal.MEMORY),
)
"""The first kind that fits counts: the narrow ones stand before the wide ones."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_A_TRAINER = frozenset(
    each.value for each in Refusal if not is_owners_word(each) and each is not Refusal.STOPPED
)


def code_of(error: BaseException) -> Refusal:
    """Return the code of an error that ended a request."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return Refusal.DISK
    fitting = (code for kind, code in _CODES if isinstance(error, kind))
    return next(fitting, Refusal.TRAINER_FAILED)


def read_code(text: str) -> Refusal:
    """Return the code that a trainer has given, `trainer.failed` for one that it may not give.

    A trainer is a program of anybody's: it cannot send words of its own, nor speak for the owner.
    """
    return Refusal(text) if text in _OF_A_TRAINER else Refusal.TRAINER_FAILED
