"""An exchange of a round: what each member is asked, what is checked of an answer, what answers come to.

A method names a list of them. In each the cohort is asked, and the next one opens for those who have
answered. Training is one: its question goes with the assignment, its answers are the updates, which the
form checks and the space folds. Measuring is the last one, where the config wants it: no method names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.core.errors import ConfigError
from antiphon.core.events import MEASURING, TRAINING
from antiphon.core.limits import MOST_ANSWER_BYTES
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, State

_NO_SHAPES = SpaceShapes({}, {}, "", 0)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def _nobody(client: str) -> Assignment:
    raise KeyError(f"no assignment of {client} is known")


@dataclass(frozen=True)
class SoFar:
    """What a round knows when one of its exchanges is asked, checked or combined.

    cohort: sorted, whoever the round was planned with; known: by exchange, what the answers to the earlier
    ones of the round have come to, and lasting ones of earlier rounds; shapes: of what the run trains; run:
    its name on the wire; trained: sorted, whose updates have arrived, once training is over; examples: that
    the cohort's members have told, 0: not told; model() → hex SHA-256 of the round's model as clients
    receive it; assigned(client) → what one of the cohort is to train.
    """

    round: int
    cohort: tuple[str, ...]
    known: Mapping[str, State] = field(default_factory=dict)
    shapes: SpaceShapes = _NO_SHAPES
    run: str = ""
    trained: tuple[str, ...] = ()
    examples: tuple[int, ...] = ()
    model: Callable[[], str] = str
    assigned: Callable[[str], Assignment] = _nobody


def nothing(so_far: SoFar, client: str) -> State:
    """Ask no question: the exchange's name says it all."""
    return {}


def _of_the_form(so_far: SoFar, client: str, answer: State) -> None:
    """Leave the check to the form: the answer is an update."""


def _of_the_fold(so_far: SoFar, answers: Mapping[str, State]) -> State:
    """Leave the answers to the fold: they are updates."""
    return {}


@dataclass(frozen=True)
class Exchange:
    """One exchange. Its client's half is the member of kind `client_exchange` of the same name.

    name: letters, digits and `_`, in the journal, on the wire and on the disk. ask(so far, client) →
    arrays that go to this client; of training, beside its assignment. check(so far, client, answer):
    raises UpdateError where an answer is not what was asked for. combine(so far, answers by client) →
    what the round knows from then on; the same answers must always give the same arrays. fewest: answers
    that are needed (none: as many as updates); deadline_s: seconds (none: the round's); most_bytes: of an
    answer on the wire; lasting: what it comes to holds for the rest of the run, so that it is not asked
    again, and goes to each client once, beside the model: see Frames.
    """

    name: str
    check: Callable[[SoFar, str, State], None]
    combine: Callable[[SoFar, Mapping[str, State]], State]
    ask: Callable[[SoFar, str], State] = nothing
    fewest: int | None = None
    deadline_s: float | None = None
    most_bytes: int = 1 << 20
    lasting: bool = False


def training(ask: Callable[[SoFar, str], State] = nothing) -> Exchange:
    """Return the exchange in which clients train. ask: what a client is told beside its assignment."""
    return Exchange(TRAINING, _of_the_form, _of_the_fold, ask)


def check_list(exchanges: Sequence[Exchange]) -> None:
    """Raise ConfigError for a list that no round can go through."""
    names = [each.name for each in exchanges]
    if names.count(TRAINING) != 1 or len(set(names)) != len(names) or MEASURING in names:
        raise ConfigError(
            f"a method's exchanges are named once each, {TRAINING} is one of them and {MEASURING} is not: "
            f"got {', '.join(names)}"
        )
    if large := [each.name for each in exchanges if each.most_bytes > MOST_ANSWER_BYTES]:
        raise ConfigError(
            f"most_bytes of the exchanges {large} is above {MOST_ANSWER_BYTES}: a message holds no more"
        )
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise ConfigError(f"an exchange's name is of a-z, 0-9 and _, 32 at most: got {wrong}")
