"""Frames `gradient`: the directions in which the clients' first gradients lie.

Before the run trains for the first time, each client of the cohort sends what is principal in a sketch of
its mean gradient at the base model (sketch.py), packed. B's columns are the leading left singular vectors
of the Y of a module, all clients' side by side, A's rows the leading right ones of the Z of all modules
that read alike, which share their A: what they read lies in the same few directions in every layer. Each
client's matrix counts with length one, so that nobody speaks louder. The coordinator packs both, the
leading directions, in which most of the gradients lies, more exactly than the others; what comes out of
the codec are the frames, for everybody the same bits.

That gradients of fine-tuning lie in a subspace of low rank that hardly moves: GaLore (Zhao et al., ICML
2024, arXiv 2403.03507); a middle matrix between fixed factors from a first gradient: LoRA-SB (Ponkshe et
al., arXiv 2411.19557), Fed-SB (arXiv 2502.15436). Shared rows, sketches and
codes are ours.
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
from antiphon.core.types import AnyArray, Float64Array, FloatArray, Params, State
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.exchanges.exchange import Exchange, SoFar
from antiphon.strategies.frames import lengths
from antiphon.strategies.frames.frames import Frames
from antiphon.strategies.frames.lengths import Table
from antiphon.strategies.frames.orthonormal import orthonormal_frames
from antiphon.strategies.frames.sketch import Sketch, kind_of, sketch_of

GRADIENT = "gradient"
_LEFT, _RIGHT = "left", "right"
_LENGTHS = "lengths"
_MORE_BITS = 1.0  # what all modules share is few numbers
_OF_B, _OF_A = 2, 1  # direction j is coded at 1 / √(j to this power) of its length
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
    """See Frames. sketched(shapes) → what clients sketch; pack(sides) → what is principal in it, as it
    travels; batches: of training data whose mean gradient a client sketches.
    """

    sketched: Callable[[Mapping[str, Shape]], Sketch] = field(kw_only=True)
    pack: Callable[[Sides], State] = field(kw_only=True)
    batches: int = field(kw_only=True)


def gradient(
    *,
    config: RunConfig,
    rows: Annotated[int, Field(ge=0)] = 0,
    bits: Rate = 1.25,
    sketch_bits: Rate = 0.4,
    batches: Annotated[int, Field(ge=1, le=64)] = 2,
    skip: Annotated[int, Field(ge=0)] = 0,
    weigh: bool = False,
) -> GradientFrames:
    """Found from the clients' first gradients, in one exchange. rows: of A (0: twice lora.r); bits: of each
    number of B, as every client receives it; sketch_bits: of each that a client sends; batches: of its
    training data, whose mean gradient it sketches; skip: leading directions that B leaves out; weigh: a
    module counts by its gradient's length.
    """
    r, held = config.lora.r, rows or 2 * config.lora.r
    size = config.training.per_device_train_batch_size

    def sketched(factors: Mapping[str, Shape]) -> Sketch:
        return sketch_of(factors, r + skip, held, config.seed)

    def factors(shapes: Mapping[str, Shape], coded: State) -> Params:
        if coded:
            sketch = sketched(shapes)
            found, table = _cut(coded, sketch, weigh)
            frames = _lengthened(_unpacked(found, *_frames(sketch, r), bits))
            return _named(sketch, frames if table is None else _weighed(frames, table))
        return _before(shapes, held, config.seed)

    def read(so_far: SoFar, answer: State) -> tuple[Sides, Table | None]:
        found, table = _cut(answer, sketch := sketched(so_far.shapes.factors), weigh)
        # What is principal in a sketch has the shapes of frames.
        return _unpacked(found, *_frames(sketch, sketch.r), sketch_bits), table

    def check(so_far: SoFar, client: str, answer: State) -> None:
        _check_finite(read(so_far, answer)[0])

    def combine(so_far: SoFar, answers: Mapping[str, State]) -> State:
        sent = [read(so_far, answers[each]) for each in sorted(answers)]
        common = _shortened(_in_common([sides for sides, _ in sent], r, held, skip))
        coded = _packed(common, bits, config.seed)
        tables = [table for _, table in sent if table is not None]
        return {**coded, _LENGTHS: lengths.in_common(tables)} if tables else coded

    def pack(sides: Sides) -> State:
        coded = _packed(_principal_parts(sides, r + skip, held), sketch_bits, config.seed)
        return {**coded, _LENGTHS: _lengths(sides)} if weigh else coded

    return GradientFrames(
        GRADIENT,
        held,
        factors,
        lambda shapes: _most_bytes(sketched(shapes.factors), r),
        lambda shapes: _once(sketched(shapes.factors), r, sketch_bits, bits),
        Exchange(GRADIENT, check, combine, most_bytes=MOST_ANSWER_BYTES, lasting=True),
        {"steps": 1, "batch": size, "accumulation": batches},
        _says(batches * size, weigh),
        sketched=sketched,
        pack=pack,
        batches=batches,
    )


def _before(shapes: Mapping[str, Shape], held: int, seed: int) -> Params:
    """Return the frames before the exchange, when nothing moves between them."""
    seeded = orthonormal_frames(shapes, seed)
    return {n: _filled(a, held) if n.endswith(A_SUFFIX) else a for n, a in seeded.items()}


def _says(examples: int, weigh: bool) -> str:
    too = ", and how long it is in each module beside the others" if weigh else ""
    return f"a sketch of its mean gradient over {examples} examples{too}"


def _most_bytes(sketch: Sketch, r: int) -> int:
    """Return the bytes of frames at most: as float32, whatever the codec says, and a byte each module."""
    numbers = [math.prod(shape) for side in _frames(sketch, r) for shape in side.values()]
    return 4 * sum(numbers) + len(sketch.sides) + _HEADER_BYTES


def _once(sketch: Sketch, r: int, sketch_bits: float, bits: float) -> tuple[int, int]:
    """Return about how many bytes a client sends and receives: what is principal in its sketch has as many
    numbers as the frames, and those of the directions that B leaves out. Lengths are next to nothing.
    """

    def size(columns: int, each: float) -> int:
        left, right = (sum(map(math.prod, side.values())) for side in _frames(sketch, columns))
        return math.ceil((left * each + right * (each + _MORE_BITS)) / 8)

    return size(sketch.r, sketch_bits), size(r, bits)


def _check_finite(sent: Sides) -> None:
    if not all(np.isfinite(x).all() for side in (sent.left, sent.right) for x in side.values()):
        raise UpdateError("a sketch with numbers that are not finite")


def _lengths(sketched: Sides) -> Table:
    """Return how long a client's gradients are, by what their sketch tells: modules in order of name."""
    norms = [float(np.linalg.norm(sketched.left[each])) for each in sorted(sketched.left)]
    return lengths.as_bytes(np.array(norms))


def _cut(coded: State, sketch: Sketch, weigh: bool) -> tuple[State, Table | None]:
    """Return the coded sides, and the modules' lengths beside them: none where all count alike."""
    if not weigh:
        return coded, None
    sides = {name: each for name, each in coded.items() if name != _LENGTHS}
    return sides, lengths.checked(coded.get(_LENGTHS), len(sketch.sides))


def _weighed(frames: Sides, table: Table) -> Sides:
    """Return the frames whose B are as long as their modules count."""
    by = zip(sorted(frames.left), lengths.weights(table), strict=True)
    return Sides({name: frames.left[name] * weight for name, weight in by}, frames.right)


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


def _frames(sketch: Sketch, columns: int) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shapes of B, by module, of so many columns, and of A, by what modules read."""
    left = {module: (d_out, columns) for module, (d_out, _) in sketch.sides.items()}
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


def _shortened(frames: Sides) -> Sides:
    """Return B and A as they are coded: a codec keeps best what is longest."""
    return Sides(
        {name: each / _divisors(each.shape[1], _OF_B) for name, each in frames.left.items()},
        {name: each / _divisors(len(each), _OF_A)[:, None] for name, each in frames.right.items()},
    )


def _lengthened(coded: Sides) -> Sides:
    """Return B and A from what was coded: products that are the same bits on every machine."""
    return Sides(
        {name: each * _divisors(each.shape[1], _OF_B) for name, each in coded.left.items()},
        {name: each * _divisors(len(each), _OF_A)[:, None] for name, each in coded.right.items()},
    )


def _divisors(count: int, power: int) -> FloatArray:
    """Return √(j to the power), j from 1 to count: of whole numbers, which every machine roots alike."""
    return np.sqrt(np.arange(1, count + 1) ** power).astype(np.float32)


def _principal_parts(sketch: Sides, r: int, rows: int) -> Sides:
    """Return what is principal in a client's sketch: r columns of each Y, so many rows of each Z."""
    left = {name: _principal(y, r) for name, y in sketch.left.items()}
    right = {name: _principal(z.T, rows).T for name, z in sketch.right.items()}
    return Sides(left, right)


def _in_common(sent: Sequence[Sides], r: int, rows: int, skip: int) -> Sides:
    """Return B of each module and A of each kind: leading directions of all clients' parts side by side,
    B's without the first `skip`.
    """

    def beside(side: str, name: str, axis: int) -> FloatArray:
        return np.concatenate([_unit(getattr(each, side)[name]) for each in sent], axis)

    b = {name: _leading(beside(_LEFT, name, 1), r + skip)[:, skip:] for name in sent[0].left}
    a = {name: _leading(beside(_RIGHT, name, 0).T, rows).T for name in sent[0].right}
    return Sides(b, a)


def _principal(matrix: FloatArray, count: int) -> FloatArray:
    """Return the leading left singular vectors, as long as their values, together of length 1."""
    left, values, _ = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return _unit((left * values)[:, :count])


def _unit(matrix: FloatArray | Float64Array) -> FloatArray:
    """Return a matrix of length one; zeros as they are."""
    length = float(np.linalg.norm(matrix))
    unit: FloatArray = (matrix / (length or 1.0)).astype(np.float32)
    return unit


def _leading(matrix: FloatArray, count: int) -> FloatArray:
    """Return the leading left singular vectors, (rows, count)."""
    left, _, _ = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return np.ascontiguousarray(left[:, :count], np.float32)
