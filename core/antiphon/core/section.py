"""What every YAML of ours shares: strict frozen sections, and errors that say what to do.

A run's config (config.py) and the settings of a coordinator and of a client are all made of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from antiphon.core.errors import ConfigError
from antiphon.core.json_text import is_finite

YAML_ERRORS = (
    yaml.YAMLError,
    ValueError,  # 2026-02-30
    LookupError,  # !!int ''
    AttributeError,  # !!timestamp x
    TypeError,
    RecursionError,
)
"""What PyYAML raises for a text that is no YAML, or holds a value that cannot be."""


class Section(BaseModel):
    """What every part of a config shares: frozen, no key that is not described, no NaN, no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(BaseModel):
    """A strategy by name with its arguments: `{kind: adam, lr: 0.01}`, or the name alone."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str = Field(description="Name of an installed member; `antiphon strategies` lists them.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_finite(self) -> Self:
        plain = self.arguments
        if bad := sorted(name for name, value in plain.items() if not is_finite(value)):
            raise ValueError(f"{', '.join(bad)}: a number must be finite, got {plain[bad[0]]}")
        return self

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.arguments}

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything beside the name."""
        return dict(self.model_extra or {})


Model = TypeVar("Model", bound=Section)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Return the keys and values of a YAML file; `what` it should be goes into the errors.

    Raises ConfigError where there is no such file, or it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}. Give the path of {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    try:
        raw = yaml.load(text, Loader=_Loader)
    except YAML_ERRORS as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values (name: …), got {type(raw).__name__}")
    return raw


def validated(model: type[Model], raw: Mapping[str, Any], source: str) -> Model:
    """Turn plain values into a section, or raise ConfigError listing everything that is wrong."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(model, dict(each)) for each in error.errors()]
        raise ConfigError(f"{source}:\n  " + "\n  ".join(lines)) from None


def reloaded(
    running: Model, wanted: Model, reloadable: frozenset[str]
) -> tuple[Model, tuple[str, ...]]:
    """Return `running` with what may change taken from `wanted`, and the keys that need a restart."""
    differs = [
        key for key in type(wanted).model_fields if getattr(running, key) != getattr(wanted, key)
    ]
    change = {key: getattr(wanted, key) for key in differs if key in reloadable}
    return running.model_copy(update=change), tuple(k for k in differs if k not in reloadable)


def override(model: type[Section], raw: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return plain values with one override `key.sub=value` applied; the value is read as YAML.

    Raises ConfigError where the text is no override.
    """
    key, equals, written = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {text!r} is not of the form key.sub=value")
    try:
        value = yaml.load(written, Loader=_Loader)
    except YAML_ERRORS as error:
        raise ConfigError(f"override {text!r}: the value is not valid YAML: {error}") from None
    return _set(raw, key.split("."), value, model)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats: PyYAML reads `1e-3` as text, which nobody means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _set(values: Any, keys: list[str], value: Any, model: type[BaseModel] | None) -> dict[str, Any]:
    if not isinstance(values, str | Mapping | None):
        raise ConfigError(
            f"override: {keys[0]!r} lies below {values!r}, which has no keys of its own"
        )
    # `server_opt.lr=0.1` on a file that says `server_opt: sgd` means {kind: sgd, lr: 0.1}.
    table = {"kind": values} if isinstance(values, str) else dict(values or {})
    head, *rest = keys
    if rest:
        field = model.model_fields.get(head) if model else None
        if field is not None and isinstance(field.default, Choice):
            table.setdefault(head, field.default.kind)
        value = _set(table.get(head), rest, value, _section(field))
    table[head] = value
    return table


def _section(field: FieldInfo | None) -> type[BaseModel] | None:
    kind = field.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _explain(model: type[Section], error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the whole"
    if error["type"] == "extra_forbidden":
        *parents, key = (str(part) for part in error["loc"])
        known = _fields_at(model, parents)
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: no such key; {hint}"
    if error["type"] == "missing":
        return f"{where}: is required; add it"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{where}: {error['msg']} (got {error['input']!r})"


def _fields_at(top: type[Section], path: Sequence[str]) -> list[str]:
    model: type[BaseModel] | None = top
    for part in path:
        model = _section(model.model_fields.get(part)) if model else None
    return sorted(model.model_fields) if model else []
