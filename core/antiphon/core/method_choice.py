"""What a config names as its method: a preset, or a space, a trainer and a form written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import model_serializer, model_validator

from antiphon.core.defaults import WRITTEN
from antiphon.core.section import Choice


class MethodChoice(Choice):
    """A method by name: `lora`; or its parts: `{space: core, trainer: adamw, form: delta}`."""

    @model_validator(mode="before")
    @classmethod
    def _from_parts(cls, value: Any) -> Any:
        is_written = isinstance(value, Mapping) and "space" in value and "kind" not in value
        return {"kind": WRITTEN, **value} if is_written else value

    @model_serializer
    def _name_alone(self) -> str | dict[str, Any]:
        return {"kind": self.kind, **self.arguments} if self.arguments else self.kind

    @property
    def label(self) -> str:
        """What people read: the preset's name, or the parts."""
        return label_of({"kind": self.kind, **self.arguments})


def label_of(value: object) -> str:
    """Return the label of a method as a config's plain values have it."""
    if not isinstance(value, Mapping):
        return str(value)
    if value.get("kind", WRITTEN) != WRITTEN:
        return str(value["kind"])
    roles = value.get("roles") or [value]
    parts = [f"{each['trainer']} → {each['form']}" for each in roles]
    return f"{value['space']}: {', '.join(parts)}"
