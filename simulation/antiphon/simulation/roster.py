"""Which node is which client: nodes come and go, and say on joining whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import UpdateError
from antiphon.core.types import Plain
from antiphon.server.machine_facts import facts_of
from antiphon.server.space import Space
from antiphon.simulation.letters import Parcel
from antiphon.v1 import coordinator_pb2

_MAX_NAME = 200
_MAX_EXAMPLES = 1 << 40
_MOST_ASKS = 3


@dataclass(frozen=True)
class Member:
    """A client whose node has joined. facts: what its machine says of itself."""

    client: str
    examples: int
    facts: dict[str, Plain]


class Roster:
    """The nodes of one run. online: those that the last look has found."""

    def __init__(self, config: RunConfig, space: Space) -> None:
        """Know nobody yet."""
        self._config_hash, self._space = config_hash(config), space
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
        if self._unheard[node] < _MOST_ASKS:
            self.online -= {node}

    def node_of(self, client: str) -> int | None:
        """Return a client's node, if it has one that is online."""
        node = self._node_of.get(client)
        return node if node in self.online else None

    def has_joined(self, client: str) -> bool:
        """Whether the client has joined since this server began."""
        return client in self._node_of

    def admit(self, node: int, parcel: Parcel) -> Member:
        """Take a node in by its answer. Raises UpdateError where it does not fit the run."""
        try:
            said = coordinator_pb2.JoinRequest.FromString(parcel.message)
        except DecodeError as error:
            raise UpdateError(f"its answer is no JoinRequest: {error}") from None
        self._check_name(node, parcel.client)
        self._check(said)
        self._node_of[parcel.client] = node
        return Member(parcel.client, said.examples, facts_of(said))

    def _check_name(self, node: int, client: str) -> None:
        if not (0 < len(client) <= _MAX_NAME and client.isprintable()):
            raise UpdateError(f"it calls itself {client[:80]!r}, which is no client's name")
        other = self.node_of(client)
        if other not in (None, node):
            raise UpdateError(
                f"it calls itself {client!r}, and so does node {other}, which is online"
            )

    def _check(self, said: coordinator_pb2.JoinRequest) -> None:
        if said.config_hash != self._config_hash:
            raise UpdateError(
                f"its config is {said.config_hash[:16]!r}, the run's is {self._config_hash!r}: use the "
                "same app and the same version of Antiphon on every machine"
            )
        if not 1 <= said.examples <= _MAX_EXAMPLES:
            raise UpdateError(f"{said.examples} training examples, expected at least 1")
        theirs = space_of_node(said, self._space.base_model)
        if (theirs.factors, theirs.weights) != (self._space.factors, self._space.weights):
            raise UpdateError(
                "its base model has other shapes than the run trains: use the model that the config names"
            )
        if self._space.model_digest not in ("", theirs.model_digest):
            raise UpdateError(
                f"its base model has the weights {theirs.model_digest[:16]}…, the run began on "
                f"{self._space.model_digest[:16]}…: use the same files"
            )


def space_of_node(said: coordinator_pb2.JoinRequest, base_model: str) -> Space:
    """Return what a node says the run trains in its base model."""
    report = said.space
    factors = {each.name: (each.rows, each.columns) for each in report.factors}
    weights = {each.name: (each.rows, each.columns) for each in report.weights}
    digest = report.model_digest.hex()
    return Space(factors, weights, base_model, report.model_parameters, digest)
