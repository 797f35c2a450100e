"""The strategies that rounds are planned with, each built once: they are values without a state.

Looking a member up reads what is installed, which takes tens of milliseconds; a plan needs a dozen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from antiphon.core import registry

_MOST = 256


def member(kind: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """Return the member that `registry.build` makes of plain arguments. Raises ConfigError."""
    return _member(kind, name, json.dumps(dict(arguments), sort_keys=True, allow_nan=False))


@lru_cache(_MOST)
def _member(kind: str, name: str, arguments: str) -> Any:
    return registry.build(kind, name, json.loads(arguments))
