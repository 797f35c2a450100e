"""Who may take part: the run's terms, and what a client must have in common with the others.

The coordinator has no model. The first client that joins says what the run trains (shapes, and a hash of
the base weights); it is written down, and whoever joins later must say the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from antiphon.core import golden
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.errors import AntiphonError
from antiphon.core.events import ClientDescribed
from antiphon.core.types import Plain
from antiphon.server.coordinator.engine import Engine
from antiphon.server.machine_facts import facts_of
from antiphon.server.roles import method_of
from antiphon.server.space import Shape, Space
from antiphon.v1 import coordinator_pb2 as pb

log = structlog.get_logger()

_MAX_MATRICES = 20_000
_MAX_SIDE = 1 << 20
_MAX_TEXT = 200
_SHA256_BYTES = 32

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
        self._max_update_bytes = max_update_bytes
        self.facts: dict[str, Mapping[str, Plain]] = {}
        self._door = asyncio.Lock()

    async def join(self, client: str, request: pb.JoinRequest) -> Engine:
        """Take a client in. Raises Refused with the reason."""
        facts = facts_of(request)
        self._check(client, request, facts)
        space = _space(request.space, self._config.model.model_name_or_path)
        self._check_size(space)
        async with self._door:
            if self.engine is None:
                log.info("the first client says what the run trains", client=client)
                self.engine = await self._opening(space)
        _check_space(self.engine.federation.space, space)
        self.facts[client] = facts
        self.engine.note(ClientDescribed(client, facts))  # first: the plan may follow at once
        await self.engine.join(client, request.examples)
        return self.engine

    def declined(self, client: str, reason: str) -> None:
        """Hear that a client does not want to take part."""
        log.info("client declined the run", client=client, reason=reason)

    def _check(self, client: str, request: pb.JoinRequest, facts: Mapping[str, Plain]) -> None:
        if request.run_id != self.run_id or request.config_hash != self.config_hash:
            raise Refused(
                f"run {request.run_id[:64]!r} with config {request.config_hash[:64]!r}, expected "
                f"{self.run_id!r} with {self.config_hash!r}: say Hello again, and use the same version"
            )
        if not 1 <= request.examples <= 1 << 40:
            raise Refused(f"{request.examples} training examples, expected at least 1")
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


def _space(report: pb.SpaceReport, base_model: str) -> Space:
    factors, weights = _shapes(report.factors), _shapes(report.weights)
    if bool(factors) == bool(weights):
        raise Refused("expected the shapes of either factors or weights")
    if len(report.model_digest) not in (0, _SHA256_BYTES):
        raise Refused(
            f"a model digest of {len(report.model_digest)} bytes, expected {_SHA256_BYTES}"
        )
    return Space(factors, weights, base_model, report.model_parameters, report.model_digest.hex())


def _shapes(matrices: Iterable[pb.MatrixShape]) -> dict[str, Shape]:
    listed = list(matrices)
    if len(listed) > _MAX_MATRICES:
        raise Refused(f"{len(listed)} matrices, expected {_MAX_MATRICES} at most")
    for each in listed:
        plain = 0 < len(each.name) <= _MAX_TEXT and each.name.isprintable()
        if not plain or not (0 < each.rows <= _MAX_SIDE and 0 < each.columns <= _MAX_SIDE):
            raise Refused(
                f"matrix {each.name[:80]!r} of {each.rows} × {each.columns} is not possible"
            )
    return {each.name: (each.rows, each.columns) for each in listed}


def _check_space(ours: Space, theirs: Space) -> None:
    if (ours.factors, ours.weights) != (theirs.factors, theirs.weights):
        mine, yours = {**ours.factors, **ours.weights}, {**theirs.factors, **theirs.weights}
        differ = sorted(name for name in {*mine, *yours} if mine.get(name) != yours.get(name))
        raise Refused(
            f"the run trains other shapes than this client's model has ({', '.join(differ[:3])[:200]}): "
            "use the base model that the config names"
        )
    if ours.model_digest != theirs.model_digest:
        raise Refused(
            f"this client's base model has the weights {theirs.model_digest[:16] or 'unknown'}…, the run "
            f"began on {ours.model_digest[:16] or 'unknown'}…: use the same files"
        )
