"""Errors that say what was got, what was expected and what to do.

`UserError` and its kinds are mistakes that the person at the keyboard can mend: the command line prints
the message without a traceback and exits with code 2. Everything else is a defect of ours.
"""

from __future__ import annotations


class AntiphonError(Exception):
    """Base of every error that this project raises on purpose."""


class UserError(AntiphonError):
    """Something that the user can mend; the message says how."""


class ConfigError(UserError):
    """The run's YAML, or an override of it, is not a valid run."""


class DataError(UserError):
    """A data file or a data set is missing, broken or empty."""


class RowError(DataError):
    """A row of the data does not fit its format."""


class TooFewRowsError(DataError):
    """There are too few rows to train and to measure."""


class ModelError(UserError):
    """The base model is missing or does not fit what the config asks of it."""


class DeviceError(ModelError):
    """The device that is asked for is not there."""


class DownloadError(UserError):
    """A download failed, or what arrived is not what was expected."""


class RunFolderError(UserError):
    """The run folder cannot be used: it belongs to another config, is missing, or the disk is full."""


class ReportError(UserError):
    """The run is over, but its report could not be made; it can be made again."""


class UpdateError(AntiphonError):
    """A client's update is not what the round asked for; the update is refused, the round goes on."""


class ProtocolError(AntiphonError):
    """The engine reported something that cannot have happened now: a defect of the engine."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
