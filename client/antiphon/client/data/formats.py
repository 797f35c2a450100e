"""How a row of a data set becomes an example: the layouts in common use.

Each factory's keyword arguments are the config's keys; each returns a `Format` whose `parse` raises
DataError naming the key that is missing or has the wrong type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.client.data.examples import Example, Message
from antiphon.core.errors import ConfigError, DataError

Row = Mapping[str, Any]

_ROLES = ("system", "user", "assistant", "tool")
_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True)
class Format:
    """How to read a row. labels: a classification's label values, in the order of the choices."""

    parse: Callable[[Row], Example]
    labels: tuple[str, ...] = ()


def alpaca() -> Format:
    """Rows {instruction, output}, and optionally input, system, history [[question, answer], …]."""
    return Format(_parse_alpaca)


def messages() -> Format:
    """Rows {messages: [{role, content}, …]}; the loss counts the assistant's turns."""
    return Format(lambda row: _conversation(row, "messages", "role", "content", _same_role))


def sharegpt() -> Format:
    """Rows {conversations: [{from, value}, …]}; `gpt` is the assistant, `human` the user."""
    return Format(lambda row: _conversation(row, "conversations", "from", "value", _sharegpt_role))


def prompt_completion() -> Format:
    """Rows {prompt, completion}, and optionally choices: the strings that completion is one of."""
    return Format(_parse_prompt_completion)


def text() -> Format:
    """Rows {text}; the loss counts everything."""
    return Format(lambda row: Example(completion=_text(row, "text", filled=True)))


def classification(
    *,
    text: str,
    label: str,
    template: str,
    verbalizers: dict[str, str],
    loss: Literal["vocabulary", "verbalizers"] = "vocabulary",
) -> Format:
    """Classify by comparing the likelihood of one word per label.

    text, label: the row's fields; template: the prompt, with `{text}` where the text goes;
    verbalizers: label value → its word, with the space that comes before it; loss: cross-entropy over
    the whole vocabulary, or among the verbalizers only (each must be one token), which spares
    zeroth-order steps the work of making the words likely at all. Raises ConfigError for a template
    without `{text}`, or verbalizers that are fewer than two, empty or equal.
    """
    if "{text}" not in template:
        raise ConfigError(f"format: classification.template {template!r} must contain {{text}}")
    words = tuple(verbalizers.values())
    if len(words) < 2 or len(set(words)) < len(words) or "" in words:
        raise ConfigError(
            f"format: classification.verbalizers {verbalizers!r} must give at least two labels, "
            "each a word of its own that is not empty"
        )
    labels = tuple(verbalizers)

    def parse(row: Row) -> Example:
        value = _label(row, label)
        if value not in verbalizers:
            raise DataError(
                f"field {label!r} is {value!r}, expected one of {', '.join(labels)}: add it to the "
                "format's verbalizers, or leave such rows out with data.filter"
            )
        prompt = template.replace("{text}", _text(row, text, filled=True))
        at = labels.index(value)
        return Example(
            prompt=prompt,
            completion=words[at],
            choices=words,
            label=at,
            among_choices=loss == "verbalizers",
        )

    return Format(parse, labels)


def _parse_alpaca(row: Row) -> Example:
    parts = [_text(row, "system", default="")]
    for pair in _list(row, "history", default=[]):
        if not (isinstance(pair, Sequence) and len(pair) == 2 and all(map(_is_text, pair))):
            raise DataError(f"key 'history' must hold [question, answer] pairs, got {pair!r}")
        parts.append(_instruction(pair[0], "") + pair[1])
    parts.append(
        _instruction(_text(row, "instruction", filled=True), _text(row, "input", default=""))
    )
    prompt = "\n\n".join(part for part in parts if part)
    return Example(prompt=prompt, completion=_text(row, "output", filled=True))


def _instruction(instruction: str, given: str) -> str:
    middle = f"### Input:\n{given}\n\n" if given else ""
    return f"### Instruction:\n{instruction}\n\n{middle}### Response:\n"


def _parse_prompt_completion(row: Row) -> Example:
    prompt, completion = _text(row, "prompt"), _text(row, "completion", filled=True)
    choices = _list(row, "choices", default=[])
    if not choices:
        return Example(prompt=prompt, completion=completion)
    if not all(map(_is_text, choices)) or len(set(choices)) < len(choices):
        raise DataError(f"key 'choices' must hold different strings, got {choices!r}")
    if completion not in choices:
        raise DataError(
            f"key 'completion' is {completion!r}, which is not one of choices {choices!r}"
        )
    return Example(prompt, completion, choices=tuple(choices), label=choices.index(completion))


def _conversation(
    row: Row, key: str, role_key: str, text_key: str, role_of: Callable[[str], str]
) -> Example:
    turns = []
    for turn in _list(row, key):
        if not isinstance(turn, Mapping):
            raise DataError(
                f"key {key!r} must hold objects {{{role_key}, {text_key}}}, got {turn!r}"
            )
        turns.append(Message(role_of(_text(turn, role_key)), _text(turn, text_key)))
    if not any(turn.role == "assistant" and turn.content for turn in turns):
        raise DataError(f"key {key!r} has no turn of the assistant, so there is nothing to learn")
    return Example(messages=tuple(turns))


def _same_role(role: str) -> str:
    if role not in _ROLES:
        raise DataError(f"role {role!r} is unknown, expected one of {', '.join(_ROLES)}")
    return role


def _sharegpt_role(role: str) -> str:
    if role not in _SHAREGPT_ROLES:
        raise DataError(f"from {role!r} is unknown, expected one of {', '.join(_SHAREGPT_ROLES)}")
    return _SHAREGPT_ROLES[role]


def _text(row: Row, key: str, default: str | None = None, *, filled: bool = False) -> str:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if key not in row:
        raise DataError(f"key {key!r} is missing; the row has {', '.join(map(str, row)) or 'none'}")
    if not _is_text(value):
        raise DataError(f"key {key!r} must be a string, got {type(value).__name__}")
    if filled and not value:
        raise DataError(f"key {key!r} is empty, so there is nothing to learn")
    return str(value)


def _label(row: Row, key: str) -> str:
    if key not in row:
        raise DataError(f"key {key!r} is missing; the row has {', '.join(map(str, row)) or 'none'}")
    value = row[key]
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise DataError(f"key {key!r} must be a string or an integer, got {type(value).__name__}")
    return str(value)


def _list(row: Row, key: str, default: list[Any] | None = None) -> list[Any]:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if key not in row:
        raise DataError(f"key {key!r} is missing; the row has {', '.join(map(str, row)) or 'none'}")
    if not isinstance(value, list):
        raise DataError(f"key {key!r} must be a list, got {type(value).__name__}")
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str)
