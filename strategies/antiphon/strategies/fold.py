"""How a round's updates become a new state: a chain of stages around one reducer.

    contributions ─ each ─ each ─ … ─ reducer ─ after ─ after ─ … → delta of the space

A stage sees the contributions on their way in (it clips them, weighs them, undoes the round) and the delta
on its way out (it adds noise, takes an optimizer's step, rounds to what a codec can say). What it keeps
from one round to the next stands in the run's state under its name. Stages are pure: their randomness comes
from the context.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from antiphon.core.types import AnyArray, State, Update
from antiphon.strategies.aggregation.contribution import (
    NOTHING_CARRIED,
    Carried,
    Contribution,
    LeftOut,
    Reduced,
    Tensors,
)
from antiphon.strategies.by_name import ByName
from antiphon.strategies.state import prefixed, under

_PARAMS = "params"


@dataclass(frozen=True)
class Context:
    """What a fold knows beside its updates. round: its number; learning_rate: of the round; secret: the
    coordinator's own, which no client knows and no config holds; known: what the round's exchanges have
    come to, by name.
    """

    round: int
    learning_rate: float = 0.0
    secret: bytes = field(default=b"", repr=False)
    known: Mapping[str, State] = field(default_factory=dict)

    def rng(self, purpose: str) -> np.random.Generator:
        """Return a generator that a round computed again gets again, and that nobody without the secret can
        know. purpose: two draws of one round have two.
        """
        said = self.secret + f"|{self.round}|{purpose}".encode()
        words = np.frombuffer(hashlib.sha256(said).digest(), np.uint64)
        return np.random.Generator(np.random.Philox(key=words[:2], counter=[0, 0, *words[2:]]))


@dataclass(frozen=True)
class Begun:
    """What a stage makes of the parameters before the first round. kept: what it remembers; params: as it
    has changed them; none: as they were.
    """

    kept: State = field(default_factory=dict)
    params: Tensors | None = None


@dataclass(frozen=True)
class Seen:
    """What a stage makes of the contributions. kept: what it remembers; report: numbers for the journal;
    held_back: clients that it has made count less; restored: the state to go back to, where the round is to
    be dropped; carried: what the reducer is to add, and to leave.
    """

    contributions: Sequence[Contribution]
    kept: State = field(default_factory=dict)
    report: Mapping[str, float] = field(default_factory=dict)
    held_back: tuple[str, ...] = ()
    restored: State | None = None
    carried: Carried = NOTHING_CARRIED


@dataclass(frozen=True)
class Moved:
    """What a stage makes of the delta. params: start + delta, where the stage knows the very numbers and a
    sum would round them; none: the sum.
    """

    delta: Tensors
    kept: State
    report: Mapping[str, float] = field(default_factory=dict)
    params: Tensors | None = None


@dataclass(frozen=True)
class Turn:
    """A fold on its way out. state: the whole one before the round; start: its parameters; delta: how far
    the stages before have moved them; known: where to, as far as one of them has said; contributions: as
    they were reduced; left_out: see Reduced.
    """

    state: State
    start: Tensors
    delta: Tensors
    known: Tensors | None
    contributions: Sequence[Contribution]
    left_out: LeftOut = field(default_factory=dict)

    @property
    def params(self) -> Tensors:
        """Where the parameters are now."""
        return self.known or ByName(self.start, lambda name: self.start[name] + self.delta[name])


def _nothing(params: Tensors) -> Begun:
    return Begun()


def _as_they_are(state: State, contributions: Sequence[Contribution], context: Context) -> Seen:
    return Seen(contributions)


def _unmoved(kept: State, turn: Turn, context: Context) -> Moved:
    return Moved(turn.delta, kept, params=turn.known)


@dataclass(frozen=True)
class Stage:
    """One link of the chain. name: under which its state stands.

    begin(params) → Begun, before the first round; each(state, contributions, context) → Seen, state:
    the whole one; after(kept, turn, context) → Moved, kept: what `each` has left; carries: it adds to a
    round's sum what the reducer has left out of an earlier one.
    """

    name: str
    begin: Callable[[Tensors], Begun] = _nothing
    each: Callable[[State, Sequence[Contribution], Context], Seen] = _as_they_are
    after: Callable[[State, Turn, Context], Moved] = _unmoved
    carries: bool = False


@dataclass(frozen=True)
class Folded:
    """The state after a round and what the journal keeps of it.

    undone: the round's updates were dropped and `state` is an earlier one, or the one before; reason: why,
    empty: the guard's; held_back: clients whose updates counted less than they asked for.
    """

    state: State
    report: Mapping[str, float]
    undone: bool = False
    held_back: tuple[str, ...] = ()
    reason: str = ""


Reduce = Callable[[Tensors, Sequence[Contribution], Context, Carried], Reduced]
"""(global parameters, contributions, context, carried) → the delta that they make together."""


@dataclass(frozen=True)
class Chain:
    """Stages around a reducer; `each` goes through them from left to right, and `after` too."""

    stages: tuple[Stage, ...]
    reduce: Reduce

    def init(self, params: Tensors) -> State:
        """Return the state before the first round."""
        state: dict[str, AnyArray] = {}
        for stage in self.stages:
            begun = stage.begin(params)
            params = begun.params or params
            state |= prefixed(stage.name, begun.kept)
        return prefixed(_PARAMS, dict(params)) | state

    def fold(self, state: State, contributions: Sequence[Contribution], context: Context) -> Folded:
        """Return the state after a round; the order of the contributions changes no bit."""
        kept: dict[str, State] = {}
        report: dict[str, float] = {}
        held_back: list[str] = []
        carried = NOTHING_CARRIED
        for stage in self.stages:
            seen = stage.each(state, contributions, context)
            report |= seen.report
            if seen.restored is not None:
                moved_back = _distance(params_of(state), params_of(seen.restored))
                return Folded(seen.restored, {"update_norm": moved_back, **report}, undone=True)
            contributions, kept[stage.name] = seen.contributions, seen.kept
            carried = seen.carried if seen.carried.rank else carried
            held_back += seen.held_back
        start = params_of(state)
        reduced = self.reduce(start, contributions, context, carried)
        turn = Turn(state, start, reduced.delta, None, contributions, reduced.left_out)
        for stage in self.stages:
            moved = stage.after(kept[stage.name], turn, context)
            turn = replace(turn, delta=moved.delta, known=moved.params)
            kept[stage.name] = moved.kept
            report |= moved.report
        after = prefixed(_PARAMS, {name: turn.params[name] for name in start})
        for stage in self.stages:
            after |= prefixed(stage.name, kept[stage.name])
        report["update_norm"] = _distance(start, params_of(after))
        if not math.isnan(reduced.error):
            report["aggregation_error"] = reduced.error
        return Folded(after, report, held_back=tuple(held_back))


def params_of(state: State) -> dict[str, AnyArray]:
    """Return the global parameters in a state."""
    return under(_PARAMS, state)


def moved_to(start: Tensors, params: Tensors, kept: State) -> Moved:
    """Return what a stage says that knows where the parameters are now."""
    return Moved(ByName(start, lambda name: params[name] - start[name]), kept, params=params)


def _distance(one: Tensors, other: Tensors) -> float:
    apart = (np.subtract(one[name], other[name], dtype=np.float64) for name in one)
    return float(np.sqrt(sum(np.sum(np.square(each, out=each)) for each in apart)))


def in_order(updates: Iterable[Update]) -> list[Update]:
    """Return updates in client order, the order in which everything is summed."""
    return sorted(updates, key=lambda update: update.client)
