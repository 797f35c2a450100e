"""The page for who answers for a site's data names every field that a client can send, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor

from antiphon.client.daemon.tell import Tell
from antiphon.v1 import coordinator_pb2, enrolment_pb2, update_pb2

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "what-leaves.md").read_text(encoding="utf-8")
SERVICES = (
    coordinator_pb2.DESCRIPTOR.services_by_name["Coordinator"],
    enrolment_pb2.DESCRIPTOR.services_by_name["Enrolment"],
)
SERIALISED = {"SubmitUpdateRequest.update": update_pb2.Update.DESCRIPTOR}
"""Fields of bytes that hold another message."""


def fields(message: Descriptor) -> Iterator[str]:
    """Yield `Message.field` of a message, and of those within it; a map counts as one field."""
    for field in message.fields:
        name = f"{message.name}.{field.name}"
        yield name
        inner = SERIALISED.get(name, field.message_type)
        if inner is not None and not inner.GetOptions().map_entry:
            yield from fields(inner)


def sent() -> set[str]:
    """Every field of every message that a client sends."""
    methods = [method for service in SERVICES for method in service.methods]
    return {name for method in methods for name in fields(method.input_type)}


def rows() -> list[str]:
    """The first cells of the page's tables of fields."""
    return re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, re.MULTILINE)


def test_every_field_that_a_client_sends_is_on_the_page() -> None:
    """A field that is new in the protocol must be explained to who answers for the data."""
    assert sent() - set(rows()) == set()


def test_the_page_names_no_field_that_is_gone() -> None:
    """Each row is of a field that can be sent, and there is one for each."""
    assert sorted(rows()) == sorted(sent())


def test_every_switch_is_on_the_page() -> None:
    """What the owner can decide about telling stands beside what it decides."""
    assert [key for key in Tell.model_fields if f"tell.{key}" not in PAGE] == []


def test_the_page_is_found() -> None:
    """README and security page lead to it."""
    assert "(docs/what-leaves.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(what-leaves.md" in (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
