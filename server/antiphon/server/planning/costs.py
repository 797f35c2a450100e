"""Upper bounds of what a round moves, from the config and the shapes of what it trains.

A codec's own estimate is taken 2 % higher, for those whose rate varies. A tensor's name, shape and
place cost what the space says, a message 1 KiB: three times what ours have, since an update may
carry metrics of its own. Retransmissions after a broken connection are not foreseen; they count once
they have been moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from antiphon.core.config import RunConfig
from antiphon.core.space import SpaceShapes
from antiphon.core.types import CodecChoice
from antiphon.server.planning.members import member
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.form import Form
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.methods.ranks import ranks_of
from antiphon.strategies.policy.costs import Costs

_SLACK = 1.02
_MESSAGE_BYTES = 1024


class _Bounds:
    """The bounds of one run; those of a codec are computed once."""

    def __init__(self, config: RunConfig, space: SpaceShapes) -> None:
        self._config, self._method = config, method_of(config)
        self._ranks = ranks_of(config.lora)
        self._bits: dict[tuple[object, ...], float] = {}
        self._names = self._method.space.places(space)
        self._parameters = self._method.space.trained(space)

    def down(self, client: str) -> int:
        """Return the bound of one client's assignment and model."""
        ranks = (self._ranks.of(client, each.form) for each in self._method.roles)
        return _MESSAGE_BYTES + self.model(max(ranks))

    def model(self, rank: int) -> int:
        """Return the bound of the global model as a client of this rank receives it."""
        down = self._config.compression.downlink
        choice = CodecChoice(down.kind, down.arguments)
        if (
            self._config.compression.changes
        ):  # anybody may need the whole model, which no codec packs
            choice = CodecChoice()
        if self._method.space.num_seeds is None:
            return self._tensors(choice, rank)
        codec: Codec = member("codec", choice.kind, choice.arguments)
        return _MESSAGE_BYTES + math.ceil(self._method.space.size(self._parameters, codec))

    def up(self, client: str, codec: CodecChoice | None, steps: int) -> int:
        """Return the bound of one client's update."""
        sizes = (self._update(each.travels, client, codec, steps) for each in self._method.roles)
        return _MESSAGE_BYTES + max(sizes)

    def _update(self, form: Form, client: str, codec: CodecChoice | None, steps: int) -> int:
        if form.packs and form.tensors:
            return self._tensors(codec, self._ranks.of(client, form)) if codec else 0
        return math.ceil(form.size(self._parameters, None, steps))

    def _tensors(self, choice: CodecChoice, rank: int) -> int:
        parameters = self._parameters * rank // self._config.lora.r
        return self._names + math.ceil(_SLACK * self._bits_of(choice, parameters) * parameters / 8)

    def _bits_of(self, choice: CodecChoice, parameters: int) -> float:
        key = (choice.kind, *choice.arguments.items(), parameters)
        if key not in self._bits:
            codec: Codec = member("codec", choice.kind, choice.arguments)
            self._bits[key] = codec.bits(parameters)
        return self._bits[key]


def costs_of(
    config: RunConfig, space: SpaceShapes, number: int, clients: Sequence[str], *, simulated: bool
) -> Costs:
    """Return the bounds of round `number`. clients: all that may be asked to measure the model after it.

    simulated: the engine is the simulation, which counts a measured model only after the last round: the
    others go out with the next round's assignments.
    """
    bounds = _Bounds(config, space)
    last = number == config.rounds
    due = last or (not simulated and number % config.evaluation.every == 0)
    measuring = max(len(clients), config.data.clients or 0) if due else 0
    evaluation = measuring * (_MESSAGE_BYTES + bounds.model(config.lora.r)) if measuring else 0
    return Costs(bounds.down, bounds.up, evaluation)
