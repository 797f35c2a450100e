"""What of a run's config decides its training: for its report, and for the card of its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from antiphon.core.types import Plain

_OF_METHOD = {
    "lora": ("lora", "training", "aggregation", "compression"),
    "seeds": ("lora", "seeds"),
    "mixed": ("lora", "training", "seeds", "aggregation", "compression"),
}
_OF_ALL = ("seed", "rounds", "model", "method")
_AFTER = ("server_opt", "cohort", "policy")


def training_settings(config: Mapping[str, Any]) -> dict[str, Plain]:
    """Return the seed and the hyperparameters of a resolved config, flat: `training.learning_rate`.

    A section that the run's method does not read is left out, and so is a value that is none.
    """
    sections = (*_OF_ALL, *_OF_METHOD.get(str(config.get("method")), ()), *_AFTER)
    found = (pair for key in sections if key in config for pair in _flat(key, config[key]))
    return {name: value for name, value in found if value is not None}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{name}.{key}", each)
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value)) or None
    else:
        yield name, value
