"""The client's half of an exchange that is neither training nor measuring.

A member of kind `client_exchange` is a factory of a function

    answer(asked: Asked) -> Answer

What it keeps for the later exchanges of the round, keys of its own for example, stays on the client's disk
until another round begins, and never leaves the site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from antiphon.client.data.clients import ClientData
from antiphon.client.secure.signer import Signer
from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.tensors import from_bytes, to_bytes, write_tensors
from antiphon.core.types import AnyArray, State


@dataclass(frozen=True)
class AtSite:
    """What holds at a site in one exchange, whatever the coordinator asks. run: its name on the wire;
    min_members: of a cohort whose updates are summed under masks; signer: its voice among the
    other clients, none: nobody there has one, as in a simulation.
    """

    run: str
    min_members: int = 2
    signer: Signer | None = None


@dataclass(frozen=True)
class Asked:
    """What a client is asked in one exchange of a round.

    arrays: the coordinator's question; kept: what the round's earlier exchanges have left here; data: the
    client's own; site: what the client's site says of this.
    """

    round: int
    exchange: str
    client: str
    arrays: State
    kept: State
    data: ClientData
    site: AtSite


@dataclass(frozen=True)
class Answer:
    """What a client answers. arrays: go to the coordinator; kept: stays here, instead of what there was."""

    arrays: State
    kept: State = field(default_factory=dict)


KIND = "client_exchange"
"""Where the halves are found, each by its exchange's name. The server's half is a value of the method."""

Half = Callable[[Asked], Answer]
_KEPT, _ASKED, _ANSWERED = "kept/", "asked/", "answered/"


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
    """What one client's exchanges keep of one round, in one file. folder: its own.

    An answer is kept with what goes with it: whoever is asked the same again, because a process died or an
    acknowledgement was lost, gives the same answer, and the two never come apart.
    """

    def __init__(self, folder: Path) -> None:
        """Hold nothing; the folder need not exist."""
        self._folder = folder

    def of(self, number: int) -> State:
        """Return what round `number` has left here so far."""
        return {
            name.removeprefix(_KEPT): each
            for name, each in self._read(number).items()
            if name.startswith(_KEPT)
        }

    def newest(self) -> int:
        """Return the last round that has left something here; 0: none has."""
        files = self._folder.glob("round-*.safetensors")
        return max((int(each.stem.removeprefix("round-")) for each in files), default=0)

    def answer(self, number: int, exchange: str, question: bytes) -> bytes | None:
        """Return the answer that was given to this very question; none: it is new."""
        held = self._read(number)
        asked = held.get(_ASKED + exchange)
        if asked is None or bytes(asked) != _digest(question):
            return None
        return bytes(held[_ANSWERED + exchange])

    def put(self, number: int, exchange: str, question: bytes, answer: bytes, kept: State) -> None:
        """Keep an answer and what goes with it, and forget every other round."""
        given = {k: v for k, v in self._read(number).items() if not k.startswith(_KEPT)}
        given[_ASKED + exchange] = np.frombuffer(_digest(question), np.uint8)
        given[_ANSWERED + exchange] = np.frombuffer(answer, np.uint8)
        for other in self._folder.glob("round-*.safetensors"):
            if other != self._file(number):
                other.unlink()
        write_tensors(self._file(number), given | {_KEPT + k: v for k, v in kept.items()})

    def keep(self, number: int, kept: State) -> None:
        """Keep this, instead of what round `number` has left here, beside the answers that were given."""
        given = {k: v for k, v in self._read(number).items() if not k.startswith(_KEPT)}
        write_tensors(self._file(number), given | {_KEPT + k: v for k, v in kept.items()})

    def _read(self, number: int) -> dict[str, AnyArray]:
        file = self._file(number)
        return from_bytes(file.read_bytes()) if file.is_file() else {}

    def _file(self, number: int) -> Path:
        return self._folder / f"round-{number:06d}.safetensors"


def answered(
    half: Half,
    *,
    number: int,
    exchange: str,
    message: bytes,
    kept: Kept,
    data: ClientData,
    site: AtSite,
) -> bytes:
    """Return a client's answer to a question, as it travels; with what it keeps, it is on the disk by then.

    Raises UpdateError for a question that cannot be read, and where the half does not answer it.
    """
    if number < kept.newest():
        raise UpdateError(
            f"round {number} is asked for again after round {kept.newest()}: what was kept of it is gone"
        )
    before = kept.answer(number, exchange, message)
    if before is not None:
        return before
    asked = Asked(number, exchange, data.name, from_bytes(message), kept.of(number), data, site)
    answer = half(asked)
    content = to_bytes(answer.arrays)
    kept.put(number, exchange, message, content, answer.kept)
    return content


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
