"""The words everybody uses: tensors by name, and what travels in a round.

A *space* is where the numbers stand that a run trains. An update is always a delta in the run's space,
whatever the form in which it travels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from antiphon.core.blob import Blob, ModelChange
from antiphon.core.defaults import DENSE

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Matrix = Float64Array
AnyArray = npt.NDArray[np.generic]

Params = Mapping[str, FloatArray]
"""Tensors by name, float32. May be lazy: a mapping over a file that reads one tensor at a time."""

State = Mapping[str, AnyArray]
"""A server-side state that can be written to safetensors as it is: flat names, any dtype."""


@dataclass(frozen=True, eq=False)
class Package:
    """What travels in a round, either way. form: the installed form that made it, empty: nobody said;
    arrays: by name, of any dtype. They may be lazy: a mapping over a file that reads one at a time; frames:
    of a model, what stands still beside them for many rounds, as it travels (see strategies/frames).
    """

    form: str
    arrays: Mapping[str, AnyArray]
    frames: State = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """One client's contribution to one round.

    round: the one in which it began; examples: training examples it holds (its weight in the mean), 0:
    not told; steps: local steps really taken; metrics: what it measured, by name (`loss`: mean training
    loss).
    The last two are the coordinator's, for the fold: how many rounds before it the update began, and
    the learning rate of its assignment (none: that of the round which folds it).
    """

    client: str
    round: int
    examples: int
    steps: int
    payload: Package
    metrics: Mapping[str, float] = field(default_factory=dict)
    staleness: int = 0
    learning_rate: float | None = None


Plain = str | int | float | bool | None
"""What a plan may say of one thing: no nesting, so that it reads as one row of a table."""


@dataclass(frozen=True)
class CodecChoice:
    """How a client packs its tensors: the name of an installed codec and its arguments."""

    kind: str = DENSE
    arguments: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class Assignment:
    """What one client is asked to do in one round. The plan names it, the client carries it out.

    method: the role of the run's method; steps: local steps to take; learning_rate: of the whole round for
    `seeds`, ignored by `lora` (which follows its schedule from `first_step` of `total_steps`);
    r: rank of the client's adapter; seed: of the client's own shuffling and order of seeds; pool: how many
    of the candidate seeds this round uses (0: all); max_tokens:
    the client stops after the step in which it has seen as many (0: no limit); codec: of the tensors
    that it sends; folded_round: the last round whose fold has an update of this client in it (0: none),
    up to which its error feedback is settled; upload_bytes: about how many the update will have; told: what
    the round's earlier exchanges have come to for this client, arrays by name; frames: see Package, as a
    blob (none: nothing stands still, or it follows from the seed); change: another way to its model (none:
    its bytes are the only one).
    """

    round: int
    client: str
    method: str
    steps: int
    first_step: int
    total_steps: int
    learning_rate: float
    r: int
    seed: int
    max_tokens: int = 0
    codec: CodecChoice = field(default_factory=CodecChoice)
    folded_round: int = 0
    upload_bytes: int = 0
    pool: int = 0
    told: State = field(default_factory=dict, compare=False)
    frames: Blob | None = None
    change: ModelChange | None = None
