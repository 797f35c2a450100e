"""Which client a node is, as its own settings say: the server never sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.core.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Which client a node is: one of the run's own split, in order of name, or one with its own rows.

    partition: of the split, none where `dataset` (as data.dataset) holds the rows of `client`.
    """

    partition: int | None
    client: str = ""
    dataset: str = ""


def place_of(settings: Mapping[str, object]) -> Place:
    """Read a node's settings: `partition-id`, or `client` with `dataset`. Raises ConfigError."""
    client, dataset = str(settings.get("client", "")), str(settings.get("dataset", ""))
    if client and dataset:
        return Place(None, client, dataset)
    partition = str(settings.get("partition-id", ""))
    if client or dataset or not partition.isdecimal():
        raise ConfigError(
            f"the node's settings are {dict(settings)}, expected a name and rows of its own, "
            'client="NAME" dataset="FILE", or its part of the run\'s split, partition-id=0'
        )
    return Place(int(partition))
