"""What a long-running process says: one event per line on stderr, for people or for programs.

What must not be read by others is struck out here, whoever logs it: secrets by the name of their key, and
bytes of any kind. A text that came from a peer is cut: nobody can fill a disk with one call.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import Processor

from antiphon.core.json_text import json_text

MOST_CHARACTERS = 200
"""Of a logged value; the rest is cut."""

_SECRET = ("token", "secret", "password", "passphrase", "private", "certificate_request", "pem")
_STRUCK_OUT = "[not logged]"
_OWN_TEXT = frozenset({"event", "exception", "stack", "level", "timestamp", "logger"})

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logs(
    level: str, log_format: Literal["console", "json"], stream: TextIO | None = None
) -> None:
    """Send what this process logs (structlog's and the standard library's) to `stream`, or stderr.

    level: debug, info, warning or error. May be called again: the new settings hold from then on.
    """
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        discreet,
    ]
    render = _renderer(log_format, colors=out.isatty())
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,  # so that a reloaded level holds for loggers that exist
    )
    _adopt_standard_library(shared, render, out)


def discreet(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Strike out secrets and bytes, and cut long texts: a processor of structlog."""
    return {key: value if key in _OWN_TEXT else _shown(key, value) for key, value in event.items()}


def _shown(key: str, value: Any) -> Any:
    if any(word in key.lower() for word in _SECRET):
        return _STRUCK_OUT
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping):
        return {each: _shown(str(each), inner) for each, inner in value.items()}
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        return f"{value[:MOST_CHARACTERS]}…"
    return value


def _renderer(log_format: Literal["console", "json"], *, colors: bool) -> list[Processor]:
    if log_format == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(json_text, default=str),
        ]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


def _adopt_standard_library(shared: list[Processor], render: list[Processor], out: TextIO) -> None:
    """Let libraries that use `logging` (grpc, asyncio) be read in the same form; warnings and worse."""
    handler = logging.StreamHandler(out)
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[strip, *render])
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if getattr(each, "of_antiphon", False)]:
        root.removeHandler(old)
    handler.of_antiphon = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
