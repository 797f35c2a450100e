"""Frames `gradient`: the directions in which the clients' first gradients lie.

Before the run trains for the first time, each client of the cohort sends a packed sketch of its mean
gradient at the base model (sketch.py). Each is brought to length one, and no part of it counts longer
than the cohort's median one (of three clients or more), so that nobody speaks louder. B's columns are the
leading left singular vectors of the summed Y of a module, A's rows the leading right ones of the summed Z
of all modules that read alike, which share their A: what they read lies in the same few directions in
every layer. The coordinator packs both, and what comes out of the codec are the frames, for everybody the
same bits.

That gradients of fine-tuning lie in a subspace of low rank that hardly moves: GaLore (Zhao et al., ICML
2024, arXiv 2403.03507); a middle matrix between fixed factors from a first gradient: LoRA-SB (Ponkshe et
al., arXiv 2411.19557), Fed-SB (arXiv 2502.15436). Shared rows, sketches and codes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.defaults import RATED
from antiphon.core.errors import UpdateError
from antiphon.core.limits import MOST_ANSWER_BYTES
from antiphon.core.space import Shape
from antiphon.core.types import AnyArray, FloatArray, Matrix, Params, State
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.exchanges.exchange import Exchange, SoFar
from antiphon.strategies.frames.frames import Frames
from antiphon.strategies.frames.orthonormal import orthonormal_frames
from antiphon.strategies.frames.sketch import Sketch, kind_of, sketch_of
from antiphon.strategies.protection.protection import FEWEST

GRADIENT = "gradient"
_LEFT, _RIGHT = "left", "right"
_MORE_BITS = 1.0  # what all modules share is few numbers
_MOST_BITS = 7.0
_HEADER_BYTES = 1 << 12

Rate = Annotated[float, Field(ge=0.25, le=_MOST_BITS)]


@dataclass(frozen=True)
class Sides:
    """Matrices by name: left ones by module, right ones by what modules read."""

    left: Mapping[str, FloatArray]
    right: Mapping[str, FloatArray]


@dataclass(frozen=True)
class GradientFrames(Frames):
    """See Frames. sketched(shapes) → what clients send; pack(sides) → it as it travels; batches: of
    training
    data whose mean gradient a client sketches.
    """

    sketched: Callable[[Mapping[str, Shape]], Sketch] = field(kw_only=True)
    pack: Callable[[Sides], State] = field(kw_only=True)
    batches: int = field(kw_only=True)


def gradient(
    *,
    config: RunConfig,
    rows: Annotated[int, Field(ge=0)] = 0,
    bits: Rate = 1.25,
    sketch_bits: Rate = 0.5,
    batches: Annotated[int, Field(ge=1, le=64)] = 2,
) -> GradientFrames:
    """Found from the clients' first gradients, in one exchange. rows: of A (0: twice lora.r); bits: of each
    number of B, as every client receives it; sketch_bits: of each that a client sends; batches: of its
    training data, whose mean gradient it sketches.
    """
    r, held = config.lora.r, rows or 2 * config.lora.r
    size = config.training.per_device_train_batch_size

    def sketched(factors: Mapping[str, Shape]) -> Sketch:
        return sketch_of(factors, r, held, config.seed)

    def factors(shapes: Mapping[str, Shape], coded: State) -> Params:
        if coded:
            return _named(sketched(shapes), _unpacked(coded, *_frames(sketched(shapes)), bits))
        # Before the exchange nothing moves between them.
        seeded = orthonormal_frames(shapes, config.seed)
        return {n: _filled(a, held) if n.endswith(A_SUFFIX) else a for n, a in seeded.items()}

    def read(so_far: SoFar, answer: State) -> Sides:
        asked = sketched(so_far.shapes.factors)
        return _unpacked(answer, asked.left, asked.right, sketch_bits)

    def check(so_far: SoFar, client: str, answer: State) -> None:
        sent = read(so_far, answer)
        if not all(
            np.isfinite(each).all() for side in (sent.left, sent.right) for each in side.values()
        ):
            raise UpdateError("a sketch with numbers that are not finite")

    def combine(so_far: SoFar, answers: Mapping[str, State]) -> State:
        sent = [read(so_far, answers[each]) for each in sorted(answers)]
        left, right = (_sum([getattr(each, side) for each in sent]) for side in (_LEFT, _RIGHT))
        b = {name: _leading(total, r) for name, total in left.items()}
        a = {name: _leading(total.T, held).T for name, total in right.items()}
        return _packed(Sides(b, a), bits, config.seed)

    return GradientFrames(
        GRADIENT,
        held,
        factors,
        lambda shapes: _most_bytes(sketched(shapes.factors)),
        Exchange(GRADIENT, check, combine, most_bytes=MOST_ANSWER_BYTES, lasting=True),
        {"steps": 1, "batch": size, "accumulation": batches},
        f"a sketch of its mean gradient over {batches * size} examples",
        sketched=sketched,
        pack=lambda sides: _packed(sides, sketch_bits, config.seed),
        batches=batches,
    )


def _most_bytes(sketch: Sketch) -> int:
    """Return the bytes of frames at most: as float32, whatever the codec says."""
    numbers = [math.prod(shape) for side in _frames(sketch) for shape in side.values()]
    return 4 * sum(numbers) + _HEADER_BYTES


def _packed(sides: Sides, bits: float, seed: int) -> State:
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))  # of the codec's rounding
    left = _codec(bits).encode(sides.left, rng)
    right = _codec(bits + _MORE_BITS).encode(sides.right, rng)
    return {_LEFT: np.frombuffer(left, np.uint8), _RIGHT: np.frombuffer(right, np.uint8)}


def _unpacked(
    coded: State, left: Mapping[str, Shape], right: Mapping[str, Shape], bits: float
) -> Sides:
    if set(coded) != {_LEFT, _RIGHT}:
        raise UpdateError(f"got the arrays {sorted(coded)[:4]}, expected {_LEFT} and {_RIGHT}")
    return Sides(
        _codec(bits).decode(_content(coded[_LEFT]), left),
        _codec(bits + _MORE_BITS).decode(_content(coded[_RIGHT]), right),
    )


def _content(coded: AnyArray) -> bytes:
    if coded.dtype != np.uint8 or coded.ndim != 1:
        raise UpdateError(f"a code of {coded.dtype} with sides {coded.shape}, expected bytes")
    return coded.tobytes()


def _codec(bits: float) -> Codec:
    codec: Codec = registry.build("codec", RATED, {"bits": bits})
    return codec


def _frames(sketch: Sketch) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shapes of B, by module, and of A, by what modules read."""
    left = {module: (d_out, sketch.r) for module, (d_out, _) in sketch.sides.items()}
    right = {kind: (sketch.rows, d_in) for kind, (_, d_in) in sketch.right.items()}
    return left, right


def _named(sketch: Sketch, frames: Sides) -> dict[str, FloatArray]:
    """Return the frames of each module by PEFT's names."""
    found: dict[str, FloatArray] = {}
    for module, side in sketch.sides.items():
        found[module + A_SUFFIX] = frames.right[kind_of(module, side)]
        found[module + B_SUFFIX] = frames.left[module]
    return found


def _filled(a: FloatArray, rows: int) -> FloatArray:
    """Return a factor A of so many rows: what is not there is zero."""
    filled = np.zeros((rows, a.shape[1]), np.float32)
    filled[: len(a)] = a[:rows]
    return filled


def _sum(sent: Sequence[Mapping[str, FloatArray]]) -> dict[str, Matrix]:
    """Return the sum of what clients sent, each of length one and no matrix longer than the usual one."""
    wholes = [_length(*each.values()) or 1.0 for each in sent]
    total: dict[str, Matrix] = {}
    for name in sent[0]:
        lengths = [_length(e[name]) / whole for e, whole in zip(sent, wholes, strict=True)]
        most = _usual(lengths)
        factors = [
            min(1.0, most / length if length else 1.0) / whole
            for length, whole in zip(lengths, wholes, strict=True)
        ]
        counted = [f * e[name].astype(np.float64) for f, e in zip(factors, sent, strict=True)]
        total[name] = np.sum(counted, axis=0)
    return total


def _length(*matrices: FloatArray) -> float:
    squares = [float(np.sum(np.square(each, dtype=np.float64))) for each in matrices]
    return math.sqrt(sum(squares))


def _usual(lengths: Sequence[float]) -> float:
    """Return the lower median of those that are not zero; infinite in a cohort too small to say."""
    moving = sorted(each for each in lengths if each)
    return moving[(len(moving) - 1) // 2] if len(moving) >= FEWEST else math.inf


def _leading(matrix: Matrix, count: int) -> FloatArray:
    """Return the leading left singular vectors, (rows, count)."""
    left, _, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.ascontiguousarray(left[:, :count], np.float32)
