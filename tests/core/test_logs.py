"""Logs: one event per line, secrets struck out, a peer's texts cut."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from antiphon.core.logs import MOST_CHARACTERS, configure_logs

log = structlog.get_logger()


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the logs go, as JSON; afterwards everything is as before."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logs("info", "json", stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_event_is_one_line_of_json(out: io.StringIO) -> None:
    """An event is an object with its keys, its level and its time."""
    log.info("update accepted", client="edge-1", round=7)

    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "update accepted", "client": "edge-1", "round": 7, "level": "info"}


@pytest.mark.parametrize("key", ["token", "join_token", "client_secret", "private_key"])
def test_secrets_are_struck_out(out: io.StringIO, key: str) -> None:
    """A value whose key says that it is secret is not written, inside mappings neither."""
    log.info("joining", **{key: "hush"}, request={key: "hush"})

    assert "hush" not in out.getvalue()


def test_bytes_are_counted_not_shown(out: io.StringIO) -> None:
    """Of bytes only their number is written."""
    log.info("received", update=b"\x00\x01\x02")

    assert lines(out)[0]["update"] == "[3 bytes]"


def test_a_number_that_json_does_not_have_is_null(out: io.StringIO) -> None:
    """A line with a loss that exploded can be read by every program."""
    log.info("evaluated", loss=float("inf"), each={"a": float("nan")})

    line = json.loads(out.getvalue(), parse_constant=pytest.fail)
    assert (line["loss"], line["each"]) == (None, {"a": None})


def test_long_texts_are_cut(out: io.StringIO) -> None:
    """A peer's text is cut to 200 characters."""
    log.info("refused", reason="x" * 10_000)

    assert lines(out)[0]["reason"] == "x" * MOST_CHARACTERS + "…"


def test_lines_cannot_be_forged(out: io.StringIO) -> None:
    """A line break in a text does not begin a line."""
    log.info("refused", reason='bye\n{"event": "all is well"}')

    assert len(lines(out)) == 1


def test_level_can_be_changed_later(out: io.StringIO) -> None:
    """A new level holds for loggers that exist."""
    bound = log.bind(client="edge-1")
    bound.debug("not yet")

    configure_logs("debug", "json", out)
    log.debug("now")

    assert [line["event"] for line in lines(out)] == ["now"]


def test_standard_library_logs_in_the_same_form(out: io.StringIO) -> None:
    """What a library logs is a line of the same kind, once, however often logs were configured."""
    configure_logs("info", "json", out)

    logging.getLogger("grpc").warning("odd: %s", "thing")

    assert [line["event"] for line in lines(out)] == ["odd: thing"]


def test_exception_is_written_with_its_traceback(out: io.StringIO) -> None:
    """An exception is in the line, as text."""
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")

    assert "ValueError: broken" in lines(out)[0]["exception"]
