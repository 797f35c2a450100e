"""Named steps at which a test may kill the process.

Nothing happens at them unless a test's own program has set a hook: no setting and no environment
variable reaches this. The names are the steps of a crash test; a process killed at any of them must
lose nothing that it acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

FaultPoint = Literal[
    "upload spooled",
    "update linked",
    "events stepped",
    "events committed",
    "before acknowledgement",
    "during fold",
    "state written",
    "during publish",
    "outbox written",
    "update submitted",
    "outbox cleared",
]

_hooks: list[Callable[[FaultPoint], None]] = []


def reached(step: FaultPoint) -> None:
    """Say that `step` has been reached."""
    for hook in _hooks:
        hook(step)


def on_reached(hook: Callable[[FaultPoint], None]) -> None:
    """Call `hook` at every step from now on (crash tests only)."""
    _hooks.append(hook)
