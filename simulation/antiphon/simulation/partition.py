"""How a simulation splits rows over its clients.

A partition names every client and gives it rows: disjoint, complete, and nobody left with nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.client.data.rows import Rows
from antiphon.core.errors import ConfigError, DataError

Shares = dict[str, tuple[int, ...]]
_Rows = npt.NDArray[np.int64]

_DIRICHLET_DRAWS = 100


@dataclass(frozen=True)
class Partition:
    """split(rows, clients, rng) gives client name → sorted row indices; clients may be None."""

    split: Callable[[Rows, int | None, np.random.Generator], Shares]


def by_field(*, field: str) -> Partition:
    """One client per value of a row's field, named after the value: a natural federation.

    Raises DataError where a row lacks the field, or data.clients disagrees with the number of
    values.
    """

    def split(rows: Rows, clients: int | None, rng: np.random.Generator) -> Shares:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(rows.values):
            groups[_value(row.get(field), field, list(row))].append(index)
        if clients is not None and clients != len(groups):
            raise DataError(
                f"field {field!r} has {len(groups)} values, but data.clients is {clients}: leave "
                "data.clients out, or choose another partition"
            )
        return {name: tuple(groups[name]) for name in sorted(groups)}

    return Partition(split)


def iid() -> Partition:
    """Shuffled rows in shares of equal size, to within one row."""

    def split(rows: Rows, clients: int | None, rng: np.random.Generator) -> Shares:
        count = _clients(rows, clients, "iid")
        return _named(np.array_split(rng.permutation(len(rows.values)), count))

    return Partition(split)


def dirichlet(*, alpha: float = 0.5, label: str | None = None) -> Partition:
    """Share out each label's rows by a draw from Dir(alpha): the smaller alpha, the less alike.

    Hsu et al., "Measuring the effects of non-identical data distribution" (2019). label: the row's
    field; none: the label of the classification format. Draws again, up to a bound, until nobody is
    empty.
    """
    if not alpha > 0:
        raise ConfigError(f"partition: dirichlet.alpha is {alpha}, expected a number above 0")

    def split(rows: Rows, clients: int | None, rng: np.random.Generator) -> Shares:
        count = _clients(rows, clients, "dirichlet")
        groups = _groups(_labels(rows, label))
        for _ in range(_DIRICHLET_DRAWS):
            shares = _draw_by_label(groups, count, alpha, rng)
            if all(len(share) for share in shares):
                return _named(shares)
        raise DataError(
            f"dirichlet with alpha {alpha} left a client without rows in {_DIRICHLET_DRAWS} draws "
            f"of {len(rows.values)} rows over {count} clients: raise alpha, or lower data.clients"
        )

    return Partition(split)


def quantity(*, exponent: float = 1.0) -> Partition:
    """Shuffled rows in shares of unlike size: client k gets one in proportion to 1/k^exponent."""
    if not exponent >= 0:
        raise ConfigError(f"partition: quantity.exponent is {exponent}, expected 0 or more")

    def split(rows: Rows, clients: int | None, rng: np.random.Generator) -> Shares:
        count, total = _clients(rows, clients, "quantity"), len(rows.values)
        weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
        shares = _cut(rng.permutation(total), weights / weights.sum())
        if not all(len(share) for share in shares):
            raise DataError(
                f"quantity with exponent {exponent} leaves a client without rows ({total} rows "
                f"over {count} clients): lower the exponent or data.clients"
            )
        return _named(shares)

    return Partition(split)


def _clients(rows: Rows, clients: int | None, name: str) -> int:
    if clients is None:
        raise DataError(
            f"partition {name} cannot know how many clients there are: set data.clients"
        )
    if clients > len(rows.values):
        raise DataError(
            f"{len(rows.values)} rows are too few for {clients} clients: lower data.clients"
        )
    return clients


def _value(value: object, field: str, keys: Sequence[str]) -> str:
    if value is None or isinstance(value, list | dict) or value == "":
        raise DataError(
            f"partition by field {field!r}: a row has {value!r} there, expected a name; its fields "
            f"are {', '.join(keys)}"
        )
    return str(value)


def _labels(rows: Rows, field: str | None) -> list[str]:
    if field is not None:
        return [_value(row.get(field), field, list(row)) for row in rows.values]
    labels = [example.label for example in rows.examples]
    if any(label is None for label in labels):
        raise DataError(
            "partition dirichlet needs labels: use the classification format, or name a field of "
            "the rows in its argument label"
        )
    return [str(label) for label in labels]


def _groups(labels: Sequence[str]) -> list[_Rows]:
    return [
        np.flatnonzero(np.array([label == each for label in labels]))
        for each in sorted(set(labels))
    ]


def _draw_by_label(
    groups: Sequence[_Rows], count: int, alpha: float, rng: np.random.Generator
) -> list[_Rows]:
    cuts = [_cut(rng.permutation(group), rng.dirichlet([alpha] * count)) for group in groups]
    return [np.concatenate([cut[client] for cut in cuts]) for client in range(count)]


def _cut(indices: _Rows, shares: npt.NDArray[np.float64]) -> list[_Rows]:
    ends = np.rint(np.cumsum(shares)[:-1] * len(indices)).astype(np.int64)
    return np.split(indices, ends)


def _named(shares: Sequence[_Rows]) -> Shares:
    names = client_names(len(shares))
    return {name: tuple(sorted(share.tolist())) for name, share in zip(names, shares, strict=True)}


def client_names(count: int) -> list[str]:
    """Return what clients are called that the data have no names for."""
    width = max(2, len(str(count - 1)))
    return [f"client-{at:0{width}d}" for at in range(count)]
