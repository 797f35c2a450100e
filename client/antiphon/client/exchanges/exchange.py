"""The client's half of an exchange that is neither training nor measuring.

A member of kind `client_exchange` is a factory of a function

    answer(asked: Asked) -> Answer

What it keeps for the later exchanges of the round, keys of its own for example, stays on the client's disk
until another round begins, and never leaves the site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.client.data.clients import ClientData
from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.tensors import from_bytes, to_bytes, write_tensors
from antiphon.core.types import State


@dataclass(frozen=True)
class Asked:
    """What a client is asked in one exchange of a round.

    arrays: the coordinator's question; kept: what the round's earlier exchanges have left here; data: the
    client's own.
    """

    round: int
    exchange: str
    client: str
    arrays: State
    kept: State
    data: ClientData


@dataclass(frozen=True)
class Answer:
    """What a client answers. arrays: go to the coordinator; kept: stays here, instead of what there was."""

    arrays: State
    kept: State = field(default_factory=dict)


KIND = "client_exchange"
"""Where the halves are found, each by its exchange's name. The server's half is a value of the method."""

Half = Callable[[Asked], Answer]


def half(name: str, config: RunConfig, given: Mapping[str, object]) -> Half:
    """Return the client's half of an exchange. given: what the program gives it, beside the config.

    Raises UpdateError for one that is not installed here.
    """
    try:
        built: Half = registry.build(KIND, name, {}, {**given, "config": config})
    except ConfigError as error:
        raise UpdateError(
            f"the coordinator asks for an exchange that is not here: {error}"
        ) from None
    return built


class Kept:
    """What one client's exchanges keep, of one round. folder: its own."""

    def __init__(self, folder: Path) -> None:
        """Hold nothing; the folder need not exist."""
        self._folder = folder

    def of(self, number: int) -> State:
        """Return what round `number` has left here so far."""
        file = self._file(number)
        return from_bytes(file.read_bytes()) if file.is_file() else {}

    def put(self, number: int, kept: State) -> None:
        """Keep something of round `number`, and forget every other round."""
        for other in self._folder.glob("kept-*.safetensors"):
            if other != self._file(number):
                other.unlink()
        if kept:
            write_tensors(self._file(number), kept)

    def _file(self, number: int) -> Path:
        return self._folder / f"kept-{number:06d}.safetensors"


def answered(
    half: Half,
    *,
    number: int,
    exchange: str,
    message: bytes,
    kept: Kept,
    data: ClientData,
) -> bytes:
    """Return a client's answer to a question, as it travels; what it keeps is on the disk by then.

    Raises UpdateError for a question that cannot be read, and where the half does not answer it.
    """
    before = kept.of(number)
    asked = Asked(number, exchange, data.name, from_bytes(message), before, data)
    answer = half(asked)
    kept.put(number, answer.kept)
    return to_bytes(answer.arrays)
