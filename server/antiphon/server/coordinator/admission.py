"""Who may take part: the run's terms, and what a client must have in common with the others.

The coordinator has no model. What the run trains (shapes, and a hash of the base weights) is what its
operator has written down before, or what a majority of the clients that the run waits for say alike. Who
joins before that is held at the door; whoever says something else afterwards is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from antiphon.core import golden
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.errors import AntiphonError, ConfigError
from antiphon.core.events import ClientDeclined, ClientDescribed, ClientJoined
from antiphon.core.json_text import json_text
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Plain
from antiphon.server.coordinator.engine import Engine
from antiphon.server.machine.standing import Declines
from antiphon.server.planning.agreement import (
    Disagreement,
    check_examples,
    check_same_space,
    claim_of,
    reported_space,
    votes_needed,
)
from antiphon.server.planning.candidates import Candidates
from antiphon.server.planning.machine_facts import facts_of
from antiphon.server.planning.plans import clients_needed
from antiphon.strategies.bases.base import Need, known_base
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2 as pb

log = structlog.get_logger()

_HOLD_S = 20.0  # of the 30 that a client gives a small call

Opening = Callable[[SpaceShapes], Awaitable[Engine]]
"""Begins the run on a space, and drives it from then on."""


class Refused(AntiphonError):
    """This client does not fit the run; the message goes to it."""


class Held(AntiphonError):
    """The run is not open yet: this client is to knock again."""


class Admission:
    """The door of one run. engine: None until it is known what the run trains."""

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        opening: Opening,
        max_update_bytes: Callable[[], int],
        *,
        now: Callable[[], float],
        hold_s: float = _HOLD_S,
    ) -> None:
        """run_id: name of the run on the wire; max_update_bytes: of one update's tensors; now: seconds of
        any zero; hold_s: how long a candidate's call is held.
        """
        self.config, self.run_id, self._opening = config, run_id, opening
        self.config_json = json_text(resolved(config)).encode()
        self.candidates = Candidates(votes_needed(clients_needed(config)), now)
        self._hold_s, self._decided = hold_s, asyncio.Event()
        self.config_hash = config_hash(config)
        self.engine: Engine | None = None
        self.declines = Declines()
        self._max_update_bytes = max_update_bytes
        self.facts: dict[str, Mapping[str, Plain]] = {}
        self._door = asyncio.Lock()

    async def join(self, client: str, request: pb.JoinRequest) -> Engine:
        """Take a client in. Raises Refused with the reason, or Held where it is too early."""
        facts = facts_of(request)
        try:
            engine = await self._admitted(client, request, facts)
        except Disagreement as error:
            raise Refused(str(error)) from None
        self.facts[client] = facts
        engine.note(ClientDescribed(client, facts))  # first: the plan may follow at once
        await engine.join(client, request.examples)
        self.declines.hear(ClientJoined(client, request.examples))
        return engine

    def declined(self, event: ClientDeclined) -> None:
        """Hear that a client wants no part; what it has said before is not journalled again."""
        if not self.declines.hear(event):
            return
        reason = self.declines.reasons[event.client]
        log.info("client declined the run", client=event.client, reason=reason)
        if self.engine is not None:
            self.engine.note(event)

    def drain(self) -> None:
        """Let the candidates go whose calls are held."""
        self._decided.set()

    async def _admitted(
        self, client: str, request: pb.JoinRequest, facts: Mapping[str, Plain]
    ) -> Engine:
        """Check what a client says, in whole; return the run's engine once there is one."""
        self._check(client, request, facts)
        space = reported_space(request.space, self.config)
        self.check_size(space)
        engine = self.engine or await self._opened(client, space)
        check_same_space(engine.space, space)
        return engine

    async def _opened(self, client: str, space: SpaceShapes) -> Engine:
        """Return the engine as soon as enough candidates say the same; the last of them begins the run."""
        claim, candidates = claim_of(space), self.candidates
        if candidates.hear(client, claim):
            same = candidates.having(claim)
            log.info(
                "a candidate", client=client, claim=claim[:8], same=same, needed=candidates.needed
            )
        async with self._door:
            if self.engine is None and candidates.agree(claim):
                self.engine = await self._opening(space)
                for declined in self.declines.events:  # there was no journal to write them to
                    self.engine.note(declined)
                self._decided.set()
        if self.engine is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._hold_s):
                    await self._decided.wait()
        if self.engine is None:
            raise Held(
                f"{candidates.having(claim)} of the {candidates.needed} clients that must say the same of "
                "their base model have said what this one says: waiting for the others"
            )
        return self.engine

    def _check(self, client: str, request: pb.JoinRequest, facts: Mapping[str, Plain]) -> None:
        if request.run_id != self.run_id or request.config_hash != self.config_hash:
            raise Refused(
                f"run {request.run_id[:64]!r} with config {request.config_hash[:64]!r}, expected "
                f"{self.run_id!r} with {self.config_hash!r}: say Hello again, and use the same version"
            )
        check_examples(request.examples)
        method = method_of(self.config)
        if held := known_base(request.capabilities.base):
            try:
                method.check_base(held)
            except ConfigError as error:
                raise Refused(str(error)) from None
        if Need.DRAWS in method.role_of(client, facts).trainer.needs:
            _check_golden(dict(request.capabilities.golden))

    def check_size(self, space: SpaceShapes) -> None:
        """Raise Refused for shapes of which no update could be taken."""
        size = 4 * sum(rows * columns for rows, columns in space.factors.values())
        most = self._max_update_bytes()
        if size > most:
            raise Refused(
                f"factors of {size} bytes, but an upload has {most} at most (max_upload_mb)"
            )


def _check_golden(drawn: Mapping[str, str]) -> None:
    wrong = sorted(name for name, sha in golden.GOLDEN.items() if drawn.get(name) != sha)
    if wrong:
        raise Refused(
            f"this machine draws other random directions or seeds than the run ({', '.join(wrong[:3])}): "
            "its updates would move the model along other directions. Use the version of Antiphon, torch "
            "and numpy that the others use, or another device"
        )
