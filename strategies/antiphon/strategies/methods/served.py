"""The server's half of a run: pure functions on the state of its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from antiphon.core.errors import UpdateError
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, Package, State, Update
from antiphon.strategies.aggregation.contribution import Contribution, Tensors
from antiphon.strategies.fold import Chain, Context, Folded, in_order
from antiphon.strategies.forms.form import Arrived, Form
from antiphon.strategies.methods.ranks import Ranks
from antiphon.strategies.secure.exchanges import SecureSums
from antiphon.strategies.secure.summed import check_masked, summed
from antiphon.strategies.spaces.space import Space, Started


@dataclass(frozen=True)
class Served:
    """What a coordinator computes. space: of the run; forms: of what its clients send, by role; chain: the
    fold; ranks: of the clients; secure: of a run whose updates are under masks.
    """

    space: Space
    forms: Mapping[str, Form]
    chain: Chain
    ranks: Ranks
    secure: SecureSums | None = None
    _kinds: Mapping[str, Form] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Know the forms by their kinds too."""
        object.__setattr__(self, "_kinds", {each.kind: each for each in self.forms.values()})

    def begin(self, shapes: SpaceShapes) -> State:
        """Return the state before the first round, of a model with these shapes."""
        return self.init(self.space.initial(shapes))

    def init(self, params: Tensors) -> State:
        """Return the state before the first round, from a point of the space."""
        return self.chain.init(params)

    def download(self, state: State, r: int) -> Package:
        """Return what a client of rank r receives; a space without ranks ignores r."""
        return self.space.download(state, r)

    def check(self, state: State, update: Update, assignment: Assignment) -> None:
        """Raise UpdateError where an update is not what the assignment asked for.

        Call it when the update arrives, so that one bad update costs one client and not the round.
        """
        form, said = self.forms[assignment.method], update.payload.form
        if said not in ("", form.kind):
            raise UpdateError(
                f"client {update.client} sent a package of form {said[:64]!r}, the assignment asked for "
                f"{form.kind}"
            )
        start, _ = self.space.started(state)(assignment.r)
        if self.secure:
            return check_masked(self.secure.terms, start, update, assignment)
        update = form.completed(update, assignment)
        form.check(update, assignment)
        arrived = self._arrived(update, start, assignment.learning_rate)
        self.space.check(start, form.delta(arrived))

    def fold(self, state: State, updates: Iterable[Update], context: Context) -> Folded:
        """Return the state after a round; the order of the updates changes no bit.

        Their packages name the forms that they were checked as, and are completed as these say.
        """
        started = self.space.started(state)
        if self.secure:
            return self._fold_sum(self.secure, state, updates, context)
        contributions = [self._contribution(each, started, context) for each in in_order(updates)]
        return self.chain.fold(state, contributions, context)

    def _fold_sum(
        self, secure: SecureSums, state: State, updates: Iterable[Update], context: Context
    ) -> Folded:
        start, scale = self.space.started(state)(self.ranks.r)
        try:
            whole, report = summed(secure.terms, start, scale, updates, context)
        except UpdateError as error:
            return Folded(state, {}, undone=True, reason=str(error))
        folded = self.chain.fold(state, [whole], context)
        return replace(folded, report={**report, **folded.report})

    def _contribution(self, update: Update, started: Started, context: Context) -> Contribution:
        form = self._kinds[update.payload.form]
        start, scale = started(self.ranks.of(update.client, form))
        arrived = self._arrived(update, start, context.learning_rate)
        return Contribution(
            client=update.client,
            weight=update.examples,
            start=start,
            delta=form.delta(arrived),
            scale=scale,
            staleness=update.staleness,
            loss=update.metrics.get("loss"),
            sent=update.payload,
        )

    def _arrived(self, update: Update, start: Tensors, rate: float) -> Arrived:
        own = rate if update.learning_rate is None else update.learning_rate
        return Arrived(update, start, own, rate, self.space.walked)
