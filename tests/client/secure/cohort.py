"""A cohort that goes through a secure sum by hand: both halves, and no engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from antiphon.client.data.clients import ClientData
from antiphon.client.exchanges.exchange import AtSite, Kept, answered, half
from antiphon.client.secure.masking import MaskingPlace, masking_of
from antiphon.core.config import RunConfig
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import Assignment, Package, Params, State, Update
from antiphon.strategies.exchanges.exchange import Exchange, SoFar
from antiphon.strategies.fold import Context
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.secure.names import KEYS, SHARES, UNMASKING

RUN, MODEL = "a-run", "ab" * 32


@dataclass
class Cohort:
    """Clients of one round. folder: for what they keep; deltas: of each, by name; examples: of each."""

    config: RunConfig
    folder: Path
    deltas: Mapping[str, Params]
    shapes: SpaceShapes
    examples: Mapping[str, int] = field(default_factory=dict)
    round: int = 1
    sites: Mapping[str, AtSite] = field(default_factory=dict)
    known: dict[str, State] = field(default_factory=dict)
    updates: dict[str, Update] = field(default_factory=dict)
    said: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def exchanges(self) -> Mapping[str, Exchange]:
        """Those of a round, by name."""
        return {each.name: each for each in method_of(self.config).every_exchange}

    def so_far(self) -> SoFar:
        """Return what the coordinator knows."""
        cohort, trained = tuple(sorted(self.deltas)), tuple(sorted(self.updates))
        told = tuple(self.examples.get(each, 10) for each in cohort)
        return SoFar(
            self.round,
            cohort,
            self.known,
            self.shapes,
            RUN,
            trained,
            told,
            lambda: MODEL,
            self.asked,
        )

    def exchange(self, name: str, clients: Collection[str]) -> None:
        """Ask these clients, check what they answer, and combine it."""
        so_far, asked = self.so_far(), self.exchanges[name]
        answers = {}
        for client in sorted(clients):
            message = to_bytes(asked.ask(so_far, client))
            answers[client] = self.check(name, client, self.answer(name, client, message))
        self.known[name] = asked.combine(so_far, answers)

    def check(self, name: str, client: str, answer: bytes) -> State:
        """Check an answer as the coordinator does, and return it."""
        self.said.append((name, client, answer))
        state = from_bytes(answer)
        self.exchanges[name].check(self.so_far(), client, state)
        return state

    def answer(self, name: str, client: str, message: bytes) -> bytes:
        """Let a client answer a question."""
        data = ClientData(client, (None,) * self.examples.get(client, 10), ())  # type: ignore[arg-type]
        return answered(
            half(name, self.config, {}),
            number=self.round,
            exchange=name,
            message=message,
            kept=self.kept(client),
            data=data,
            site=self.sites.get(client, AtSite(RUN)),
        )

    def kept(self, client: str) -> Kept:
        """Return what a client keeps."""
        return Kept(self.folder / client)

    def asked(self, client: str) -> Assignment:
        """Return what a client is asked to train, but for what it is told."""
        return Assignment(
            round=self.round,
            client=client,
            method=method_of(self.config).names[0],
            steps=2,
            first_step=0,
            total_steps=2,
            learning_rate=0.1,
            r=4,
            seed=1,
        )

    def assignment(self, client: str) -> Assignment:
        """Return what a client is asked to train."""
        told = self.exchanges["training"].ask(self.so_far(), client)
        return replace(self.asked(client), told=told)

    def train(self, clients: Collection[str]) -> None:
        """Let these clients send their deltas under masks."""
        self.updates |= {each: self.masked(each, self.assignment(each)) for each in sorted(clients)}

    def masked(self, client: str, assignment: Assignment, delta: Params | None = None) -> Update:
        """Return a client's update as it leaves."""
        masking = masking_of(self.config)
        assert masking is not None
        payload = Package("delta", self.deltas[client] if delta is None else delta)
        update = Update(
            client, self.round, self.examples.get(client, 10), 2, payload, {"loss": 2.0}
        )
        start = Package("", {name: np.zeros_like(each) for name, each in payload.arrays.items()})
        place = MaskingPlace(RUN, MODEL, self.kept(client))
        return masking.masked(update, assignment, start, place)

    def through(
        self,
        shared: Collection[str] | None = None,
        trained: Collection[str] | None = None,
        unmasked: Collection[str] | None = None,
    ) -> Context:
        """Go through a round; who is not named from some exchange on has dropped out (none: nobody)."""
        everybody = sorted(self.deltas)
        shared = everybody if shared is None else shared
        trained = shared if trained is None else trained
        self.exchange(KEYS, everybody)
        self.exchange(SHARES, shared)
        self.train(trained)
        self.exchange(UNMASKING, trained if unmasked is None else unmasked)
        return Context(self.round, known=self.known)
