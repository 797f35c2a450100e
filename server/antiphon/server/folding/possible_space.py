"""What a space must be for a run's config: shapes that its method can train, and no others.

A space comes from clients that nobody vouches for, from an operator's file, or from a run folder that
somebody may have changed. Each is looked at in whole before anything is made of it or written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from antiphon.core.config import RunConfig
from antiphon.core.errors import AntiphonError
from antiphon.core.peft_folder import module_of
from antiphon.core.space import Shape, SpaceShapes
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX
from antiphon.strategies.methods.method import method_of

_MOST_MATRICES: Final = 20_000
_LONGEST_SIDE: Final = 1 << 20
_LONGEST_NAME: Final = 200
_MOST_NUMBERS: Final = 1 << 44  # two hundred times the largest model there is
_DIGEST_DIGITS: Final = 64
_ALL: Final = "all-linear"


class ImpossibleSpace(AntiphonError):
    """No run of this config can train the space; the message is one short sentence."""


def check_possible(space: SpaceShapes, config: RunConfig) -> None:
    """Raise ImpossibleSpace for what a run of this config cannot train."""
    weights = method_of(config).space.trains_weights
    kind, other = ("weights", "factors") if weights else ("factors", "weights")
    shapes: Mapping[str, Shape] = getattr(space, kind)
    if not shapes or getattr(space, other):
        raise ImpossibleSpace(f"the run trains {kind}: expected their shapes, and those alone")
    _check_sizes(shapes)
    if weights:
        _check_targets(shapes, config.seeds.target_modules)
    else:
        _check_targets(_pairs(shapes, config.lora.r), config.lora.target_modules)
    if not 0 <= space.model_parameters <= _MOST_NUMBERS:
        raise ImpossibleSpace(f"a model of {space.model_parameters} parameters is not possible")
    if not _is_digest(space.model_digest):
        raise ImpossibleSpace(
            f"a model digest of {len(space.model_digest) // 2} bytes, expected {_DIGEST_DIGITS // 2}"
        )


def _check_sizes(shapes: Mapping[str, Shape]) -> None:
    if len(shapes) > _MOST_MATRICES:
        raise ImpossibleSpace(f"{len(shapes)} matrices, expected {_MOST_MATRICES} at most")
    for name, (rows, columns) in shapes.items():
        plain = 0 < len(name) <= _LONGEST_NAME and name.isprintable()
        if not plain or not (0 < rows <= _LONGEST_SIDE and 0 < columns <= _LONGEST_SIDE):
            raise ImpossibleSpace(f"matrix {name[:80]!r} of {rows} × {columns} is not possible")
    if (numbers := sum(rows * columns for rows, columns in shapes.values())) > _MOST_NUMBERS:
        raise ImpossibleSpace(f"{numbers} numbers to train, expected {_MOST_NUMBERS} at most")


def _pairs(factors: Mapping[str, Shape], r: int) -> list[str]:
    """Return the modules that the factors are of: each has its A (r, d_in) and its B (d_out, r)."""
    modules: dict[str, str] = {}
    for name in factors:
        suffix = next((each for each in (A_SUFFIX, B_SUFFIX) if name.endswith(each)), None)
        if suffix is None:
            raise ImpossibleSpace(
                f"factor {name[:80]!r}: expected a name that ends in {A_SUFFIX} or {B_SUFFIX}"
            )
        stem = name.removesuffix(suffix)
        pair = (stem + A_SUFFIX, stem + B_SUFFIX)
        if not all(each in factors for each in pair):
            raise ImpossibleSpace(f"factor {name[:80]!r} has no pair: expected both A and B")
        if modules.setdefault(module_of(name), stem) != stem:
            raise ImpossibleSpace(f"module {module_of(name)[:80]!r} has two pairs of factors")
        ranks = (factors[pair[0]][0], factors[pair[1]][1])
        if ranks != (r, r):
            raise ImpossibleSpace(
                f"the factors of {stem[:80]!r} have the ranks {ranks[0]} and {ranks[1]}, the run's is {r}"
            )
    return list(modules)


def _check_targets(modules: Iterable[str], targets: Sequence[str] | str) -> None:
    """The modules are those that the config names, and each of its endings names one."""
    names = list(modules)
    if unnamed := next((each for each in names if not each.strip(".")), None):
        raise ImpossibleSpace(f"{unnamed[:80]!r} is no module's name")
    if "" in names:
        raise ImpossibleSpace("a module without a name")
    endings = [targets] if isinstance(targets, str) else list(targets)
    if endings == [_ALL]:
        return
    found = {each: _endings_of(each, endings) for each in names}
    strange = next((each for each in names if not found[each]), None)
    missing = sorted(set(endings) - {ending for each in found.values() for ending in each})
    if strange is not None or missing:
        what = (
            f"no module ends in {missing[0]!r}" if strange is None else f"module {strange[:80]!r}"
        )
        raise ImpossibleSpace(f"{what}, but target_modules is {', '.join(endings)[:200]}")


def _endings_of(module: str, endings: Sequence[str]) -> list[str]:
    return [each for each in endings if module == each or module.endswith("." + each)]


def _is_digest(digest: str) -> bool:
    digits = set("0123456789abcdef")
    return digest == "" or (len(digest) == _DIGEST_DIGITS and set(digest) <= digits)
