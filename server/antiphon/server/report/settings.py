"""What of a run's config decides its training: for its report, and for the card of its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from antiphon.core.config import validate
from antiphon.core.errors import ConfigError
from antiphon.core.types import Plain
from antiphon.strategies.methods.method import method_of

_OF_ALL = ("seed", "rounds", "model", "method")
_AFTER = ("server_opt", "cohort", "policy")
_OF_CLIENTS = (
    "lora.client_ranks.",
    "aggregation.trusted",
)  # who takes part is nobody else's business


def training_settings(config: Mapping[str, Any]) -> dict[str, Plain]:
    """Return the seed and the hyperparameters of a resolved config, flat: `training.learning_rate`.

    A section that the run's method does not read is left out, and so are a value that is none and the names
    of clients.
    """
    keys = (*_OF_ALL, *_of_method(config), *_AFTER)
    found = (pair for key in keys if key in config for pair in _flat(key, config[key]))
    return {
        name: value
        for name, value in found
        if value is not None and not name.startswith(_OF_CLIENTS)
    }


def _of_method(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that a run's method reads; of a method that is not installed here, none are known."""
    try:
        method = method_of(validate(config))
    except ConfigError:
        return ()
    packing = ("compression",) if method.packs else ()
    return (*method.sections, "aggregation", "protection", *packing)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{name}.{key}", each)
    elif isinstance(value, list):
        yield name, ", ".join(map(_said, value)) or None
    else:
        yield name, value


def _said(value: Any) -> str:
    """Return an item of a list; a strategy with arguments as it is called: `clip(multiple=3)`."""
    if not isinstance(value, Mapping):
        return str(value)
    arguments = ", ".join(f"{key}={each}" for key, each in value.items() if key != "kind")
    return f"{value.get('kind')}({arguments})" if arguments else str(value.get("kind"))
