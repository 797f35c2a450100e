"""Which node is which client: nodes come and go, and say on joining whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from antiphon.core.config import RunConfig, config_hash
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Plain
from antiphon.server.planning.agreement import (
    Disagreement,
    check_examples,
    check_same_space,
    reported_space,
)
from antiphon.server.planning.machine_facts import facts_of
from antiphon.simulation.flower.letters import Parcel
from antiphon.v1 import coordinator_pb2

_MAX_NAME = 200
MOST_ASKS = 3
"""How often a node that gives no answer is asked to join."""


@dataclass(frozen=True)
class JoinedNode:
    """A client whose node has joined. facts: what its machine says of itself."""

    client: str
    examples: int
    facts: dict[str, Plain]


class Roster:
    """The nodes of one run. online: those that the last look has found."""

    def __init__(self, config: RunConfig, space: SpaceShapes) -> None:
        """Know nobody yet."""
        self._config, self._config_hash, self._space = config, config_hash(config), space
        self._node_of: dict[str, int] = {}
        self._unheard: Counter[int] = Counter()
        self.online: frozenset[int] = frozenset()

    def look(self, online: Collection[int]) -> list[int]:
        """Take in who is online now; return the nodes that have come since the last look."""
        before, self.online = self.online, frozenset(online)
        return sorted(self.online - before)

    def ask_again(self, node: int) -> None:
        """Count a node that gave no answer as one that has yet to come, unless it was asked enough."""
        self._unheard[node] += 1
        if self._unheard[node] < MOST_ASKS:
            self.online -= {node}

    def node_of(self, client: str) -> int | None:
        """Return a client's node, if it has one that is online."""
        node = self._node_of.get(client)
        return node if node in self.online else None

    def has_joined(self, client: str) -> bool:
        """Whether the client has joined since this server began."""
        return client in self._node_of

    def admit(self, node: int, parcel: Parcel) -> JoinedNode:
        """Take a node in by its answer. Raises Disagreement where it does not fit the run."""
        said = read_joining(parcel, self._config_hash)
        self._check_name(node, parcel.client)
        self._check_space(said)
        self._node_of[parcel.client] = node
        return JoinedNode(parcel.client, said.examples, facts_of(said))

    def _check_name(self, node: int, client: str) -> None:
        if not (0 < len(client) <= _MAX_NAME and client.isprintable()):
            raise Disagreement(f"it calls itself {client[:80]!r}, which is no client's name")
        other = self.node_of(client)
        if other not in (None, node):
            raise Disagreement(
                f"it calls itself {client!r}, and so does node {other}, which is online"
            )

    def _check_space(self, said: coordinator_pb2.JoinRequest) -> None:
        theirs = reported_space(said.space, self._config)
        # A simulation names no weights: there the first node's are the run's.
        digest = self._space.model_digest or theirs.model_digest
        ours = replace(self._space, model_digest=digest)
        check_same_space(ours, theirs)
        self._space = ours


def read_joining(parcel: Parcel, hashed: str) -> coordinator_pb2.JoinRequest:
    """Return what a node says on joining a run whose config has the hash `hashed`.

    Raises Disagreement where it is no JoinRequest, or one of another config or without examples.
    """
    try:
        said = coordinator_pb2.JoinRequest.FromString(parcel.message)
    except DecodeError as error:
        raise Disagreement(f"its answer is no JoinRequest: {error}") from None
    if said.config_hash != hashed:
        raise Disagreement(
            f"its config is {said.config_hash[:16]!r}, the run's is {hashed!r}: use the same app and "
            "the same version of Antiphon on every machine"
        )
    check_examples(said.examples)
    return said
