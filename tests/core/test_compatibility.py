"""The wire format only ever grows: every field that was released is still what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from antiphon.v1 import coordinator_pb2, enrolment_pb2, update_pb2

RELEASED = Path(__file__).parents[1] / "golden" / "released_fields.json"
FILES = (update_pb2, enrolment_pb2, coordinator_pb2)


def messages() -> dict[str, Descriptor]:
    """Every message of the package, by name."""
    return {name: each for file in FILES
            for name, each in file.DESCRIPTOR.message_types_by_name.items()}  # fmt: skip


def told(field: FieldDescriptor) -> list[Any]:
    """Number, type and label of a field, and the message that it holds."""
    kind = field.message_type.full_name if field.message_type else ""
    return [field.number, field.type, field.label, kind]  # type: ignore[attr-defined]


def now() -> dict[str, dict[str, Any]]:
    """The fields of all messages, and the methods of all services, as they are now."""
    fields = {name: {field.name: told(field) for field in each.fields}
              for name, each in messages().items()}  # fmt: skip
    services = {
        name: {m.name: [m.input_type.full_name, m.output_type.full_name] for m in each.methods}
        for file in FILES
        for name, each in file.DESCRIPTOR.services_by_name.items()
    }
    return {"messages": fields, "services": services}


@pytest.mark.parametrize("kind", ["messages", "services"])
def test_nothing_that_was_released_has_changed(kind: str) -> None:
    """A field keeps its number, type and label for ever, and a method its messages."""
    released = json.loads(RELEASED.read_text())[kind]

    current = now()[kind]

    changed = [
        f"{name}.{part}"
        for name, parts in released.items()
        for part, before in parts.items()
        if current.get(name, {}).get(part) != before
    ]
    assert changed == []


def test_the_list_is_complete() -> None:
    """Every field is on the list: `python -m tests.core.test_compatibility` adds new ones."""
    assert json.loads(RELEASED.read_text()) == now()


def test_unknown_fields_are_ignored() -> None:
    """A message of a newer version, with a field that this one lacks, is read all the same."""
    newer = update_pb2.Assignment(run_id="run", round=3).SerializeToString() + b"\xf8\x7f\x01"

    assert update_pb2.Assignment.FromString(newer).round == 3


def test_every_message_of_another_version_has_its_zero_values() -> None:
    """A field that an older version did not send reads as zero."""
    older = update_pb2.Assignment.FromString(b"")

    assert (older.max_tokens, older.steps, older.model.bytes) == (0, 0, 0)


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(now(), indent=1) + "\n")
