"""Who may take part: the run's terms, and what a client must have in common with the others.

The coordinator has no model. The first client that joins says what the run trains (shapes, and a hash of
the base weights); it is written down, and whoever joins later must say the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

import structlog

from antiphon.core import golden
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.errors import AntiphonError
from antiphon.core.events import ClientDeclined, ClientDescribed, ClientJoined
from antiphon.core.types import Plain
from antiphon.server.agreement import (
    Disagreement,
    check_examples,
    check_same_space,
    reported_space,
)
from antiphon.server.coordinator.engine import Engine
from antiphon.server.machine_facts import facts_of
from antiphon.server.roles import method_of
from antiphon.server.space import Space
from antiphon.server.standing import Declines
from antiphon.v1 import coordinator_pb2 as pb

log = structlog.get_logger()

Opening = Callable[[Space], Awaitable[Engine]]
"""Begins the run on a space, and drives it from then on."""


class Refused(AntiphonError):
    """This client does not fit the run; the message goes to it."""


class Admission:
    """The door of one run. engine: None until the first client has joined."""

    def __init__(
        self, config: RunConfig, run_id: str, opening: Opening, max_update_bytes: Callable[[], int]
    ) -> None:
        """run_id: name of the run on the wire; max_update_bytes: of one update's tensors."""
        self._config, self.run_id, self._opening = config, run_id, opening
        self.config_json = json.dumps(resolved(config)).encode()
        self.config_hash = config_hash(config)
        self.engine: Engine | None = None
        self.declines = Declines()
        self._max_update_bytes = max_update_bytes
        self.facts: dict[str, Mapping[str, Plain]] = {}
        self._door = asyncio.Lock()

    async def join(self, client: str, request: pb.JoinRequest) -> Engine:
        """Take a client in. Raises Refused with the reason."""
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

    async def _admitted(
        self, client: str, request: pb.JoinRequest, facts: Mapping[str, Plain]
    ) -> Engine:
        """Check what a client says; return the run's engine, which the first client begins."""
        self._check(client, request, facts)
        space = reported_space(request.space, self._config.model.model_name_or_path)
        self._check_size(space)
        async with self._door:
            if self.engine is None:
                log.info("the first client says what the run trains", client=client)
                self.engine = await self._opening(space)
                for declined in self.declines.events:  # there was no journal to write them to
                    self.engine.note(declined)
        check_same_space(self.engine.federation.space, space)
        return self.engine

    def _check(self, client: str, request: pb.JoinRequest, facts: Mapping[str, Plain]) -> None:
        if request.run_id != self.run_id or request.config_hash != self.config_hash:
            raise Refused(
                f"run {request.run_id[:64]!r} with config {request.config_hash[:64]!r}, expected "
                f"{self.run_id!r} with {self.config_hash!r}: say Hello again, and use the same version"
            )
        check_examples(request.examples)
        if method_of(self._config, client, facts) == "seeds":
            _check_golden(dict(request.capabilities.golden))

    def _check_size(self, space: Space) -> None:
        """The first client's shapes are the run's: they must be such that an update can be taken."""
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
            f"this machine draws other random directions than the run ({', '.join(wrong[:3])}): its "
            "updates would move the model along other directions. Use another device, or the versions "
            "of torch and numpy that the others use"
        )
