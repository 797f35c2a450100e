"""What a client sends, packed by the codec of its assignment; what the codec leaves out is kept here.

Error feedback: the residual of a round is added to the delta of the next one (by_round.py says of which).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from antiphon.client.by_round import ByRound
from antiphon.core import registry
from antiphon.core.content import Content
from antiphon.core.defaults import DENSE
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.run_sections import CompressionConfig
from antiphon.core.types import AnyArray, Assignment, Params, Update
from antiphon.core.wire import Packed, as_safetensors, pack_update
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.error_feedback import corrected, residual
from antiphon.strategies.secure.names import MASKED

_OF_CODECS = 1 << 32  # rounds' own numbers are for what else a client draws


class Sender:
    """Packs one client's updates of one run. folder: its own, kept for as long as the run goes on."""

    def __init__(
        self, folder: Path, compression: CompressionConfig, inline: Collection[str] = ()
    ) -> None:
        """Hold nothing; the folder need not exist. inline: roles whose packages no codec packs."""
        self._folder, self._compression, self._inline = folder, compression, frozenset(inline)
        self._residual = ByRound(folder, "residual")

    def pack(self, update: Update, assignment: Assignment, run_id: str) -> Packed:
        """Pack an update; the same one for the same assignment gives the same bytes.

        Raises UpdateError for a codec that is not installed here.
        """
        if assignment.method in self._inline:
            return pack_update(update, run_id, pack=None)
        if update.payload.form == MASKED:
            return pack_update(update, run_id, _masked)
        pack = self._as_they_are if assignment.codec.kind == DENSE else self._encode
        return pack_update(update, run_id, partial(pack, assignment))

    def forget(self) -> None:
        """Remove what is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _as_they_are(self, assignment: Assignment, delta: Params) -> tuple[Content, str]:
        return as_safetensors(self._corrected(assignment, delta))

    def _encode(self, assignment: Assignment, delta: Params) -> tuple[Content, str]:
        codec = _codec(assignment)
        stream = assignment.round + _OF_CODECS
        rng = np.random.Generator(np.random.Philox(key=[assignment.seed, stream]))
        wanted = self._corrected(assignment, delta)
        content = codec.encode(wanted, rng)
        if codec.biased and self._compression.error_feedback:
            decoded = codec.decode(content, {name: value.shape for name, value in wanted.items()})
            self._residual.keep(assignment, dict(residual(wanted, decoded)))
        return Content((content,)), assignment.codec.kind

    def _corrected(self, assignment: Assignment, delta: Params) -> Params:
        """Return the delta with what an earlier codec left out, whatever this round's codec is."""
        if not self._compression.error_feedback:
            return delta
        before = self._residual.before(assignment)
        if not before:
            return delta
        kept = {name: each.astype(np.float32, copy=False) for name, each in before.items()}
        if {k: v.shape for k, v in kept.items()} != {k: v.shape for k, v in delta.items()}:
            return delta  # the client's rank has changed: it is another space
        age = assignment.round - assignment.folded_round  # in rounds
        return corrected(delta, kept, self._compression.residual_decay**age)


def _masked(arrays: Mapping[str, AnyArray]) -> tuple[Content, str]:
    return Content((arrays[MASKED].tobytes(),)), MASKED


def _codec(assignment: Assignment) -> Codec:
    try:
        codec: Codec = registry.build("codec", assignment.codec.kind, assignment.codec.arguments)
    except ConfigError as error:
        raise UpdateError(f"the coordinator asks for a codec that is not here: {error}") from None
    return codec
